/** @file The formats of thinking: which template means which, and that what ends a block early ends it for every reader. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { renderPrompt } from '../../src/chat/prompt.ts';
import { type ReasoningKind, reasoningFormatOf, reasoningFormats } from '../../src/chat/reasoning-formats.ts';
import { ChatTemplate, thinkState } from '../../tokenizer/index.ts';
import { parse } from './parsed.ts';

const TEMPLATES = new URL('../fixtures/tokenizer-goldens/templates/', import.meta.url);

describe('the format of a template', () => {
  it.each(readdirSync(TEMPLATES).filter((name) => name.endsWith('.jinja')))('%s is <think>', (name) => {
    expect(reasoningFormatOf(readFileSync(new URL(name, TEMPLATES), 'utf8'))).toBe(reasoningFormats.think);
  });

  it.each<[string, ReasoningKind]>([
    ["{{ '[THINK]' + block['thinking'] + '[/THINK]' }}", 'magistral'],
    ["{%- set think_begin_token = '<seed:think>' -%}", 'seed'],
    ["{{ content.split('</seed:think>')[-1] }}", 'seed'],
    ["{{ content.split('</think>')[-1] }}", 'think'],
    ['{{ messages[0].content }}', 'think'],
    ['', 'think'],
  ])('%j is %s', (template, kind) => {
    expect(reasoningFormatOf(template)).toBe(reasoningFormats[kind]);
  });
});

describe.each(Object.entries(reasoningFormats))('thinking as %s', (_, format) => {
  const { open, close, closeOpened, closeEmpty, closeSpent } = format;

  it.each([closeOpened, closeEmpty, closeSpent])('is over after %j', (end) => {
    expect(thinkState(`${open}\na`, format)).toBe('open');
    expect(thinkState(`${open}\na${end}`, format)).toBe('closed');
    const message = parse([`${open}a${end}b`], { start: 'ask', reasoning: format });
    expect(message.reasoning_content).toMatch(/^a/);
    expect(message.content).toBe('b');
  });

  it('is empty after it was closed at once', () => {
    const message = parse([`${open}${closeEmpty}b`], { start: 'ask', reasoning: format });
    expect(message).toMatchObject({ reasoning_content: '', content: 'b' });
  });

  it.each([
    ['', 'ask'],
    [open, 'open'],
    [open + close, 'closed'],
  ] as const)('after a prompt that ends with %j starts %s', (ending, start) => {
    const source = `{# ${open} #}{{ messages[0].content }}{{ '${ending}' }}`;
    const template = ChatTemplate.fromCheckpoint({ chatTemplateJinja: source });
    const messages = [{ role: 'user', content: 'Hi' }];
    expect(renderPrompt(template, messages, {})).toEqual({ text: `Hi${ending}`, thinking: start });
    expect(renderPrompt(template, messages, { thinkingBudget: 0 })).toEqual(
      start === 'open'
        ? { text: `Hi${open}${closeOpened}`, thinking: 'closed' }
        : { text: `Hi${ending}`, thinking: start },
    );
  });
});
