/** @file Conversations with tools as prompts: calls come back as the model wrote them, and mistakes are explained. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { createMessageBuilder } from '../../src/chat/message.ts';
import { MessageParser } from '../../src/chat/message-parser.ts';
import { renderPrompt } from '../../src/chat/prompt.ts';
import { toolFormatOf } from '../../src/chat/tool-formats.ts';
import {
  type ChatMessage,
  type ChatOptions,
  InvalidInputError,
  type ToolDefinition,
} from '../../src/index.ts';
import { ChatTemplate } from '../../tokenizer/index.ts';

const TEMPLATES = new URL('../fixtures/tokenizer-goldens/templates/', import.meta.url);

function templateOf(name: string): ChatTemplate {
  const chatTemplateJinja = readFileSync(new URL(`${name}.jinja`, TEMPLATES), 'utf8');
  return ChatTemplate.fromCheckpoint({ chatTemplateJinja, tokenizerConfig: { bos_token: '<bos>' } });
}

const tools: ToolDefinition[] = [
  {
    type: 'function',
    function: { name: 'f', parameters: { type: 'object', properties: { n: { type: 'integer' } } } },
  },
];
const question: ChatMessage = { role: 'user', content: 'Hi' };

/** The message of an answer that the model of a template wrote. */
function messageOf(template: ChatTemplate, text: string) {
  const format = toolFormatOf(template.source)!;
  const parser = new MessageParser({ start: 'closed', tools: { format, definitions: tools } });
  const builder = createMessageBuilder();
  for (const delta of [...parser.push(text), ...parser.end()]) builder.add(delta);
  return builder.build();
}

describe('a call in the history', () => {
  const json = '{"name": "f", "arguments": {"n": 1, "a": "é\\""}}';
  const fenced = '<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{"n":1}\n```<｜tool▁call▁end｜>';
  const bare = '<｜tool▁call▁begin｜>f<｜tool▁sep｜>{"n":1}<｜tool▁call▁end｜>';
  it.each([
    ['qwen3', `<tool_call>\n${json}\n</tool_call>`],
    [
      'qwen3',
      `Wait.\n<tool_call>\n{"name": "f", "arguments": {"n":1}}\n</tool_call>\n<tool_call>\n${json}\n</tool_call>`,
    ],
    ['qwen3-thinking-2507', `<tool_call>\n${json}\n</tool_call>`],
    ['qwen2.5-instruct', `<tool_call>\n${json}\n</tool_call>`],
    ['qwen2.5-instruct', `Wait.\n<tool_call>\n${json}\n</tool_call>`],
    [
      'qwen3-coder',
      '<tool_call>\n<function=f>\n<parameter=n>\n1\n</parameter>\n<parameter=a>\nb\nc\n</parameter>\n</function>\n</tool_call>',
    ],
    ['deepseek-v3', `<｜tool▁calls▁begin｜>${fenced}\n${fenced}<｜tool▁calls▁end｜>`],
    ['deepseek-v3-0324', `Wait.<｜tool▁calls▁begin｜>${fenced}\n${fenced}<｜tool▁calls▁end｜>`],
    ['deepseek-r1', `<｜tool▁calls▁begin｜>${fenced}\n${fenced}<｜tool▁calls▁end｜>`],
    ['deepseek-v3.1', `Wait.<｜tool▁calls▁begin｜>${bare}${bare}<｜tool▁calls▁end｜>`],
  ])('of %s reads as the model wrote it: %j', (name, text) => {
    const template = templateOf(name);
    const message = messageOf(template, text);
    const results = message.tool_calls!.map(({ id }) => ({ role: 'tool', tool_call_id: id, content: '5' }));
    const { text: prompt } = renderPrompt(template, [question, message, ...results], { tools });
    expect(prompt).toContain(text);
  });

  it('may have its arguments as an object, whatever the template wants', () => {
    const call = { type: 'function', function: { name: 'f', arguments: { n: 1 } } };
    const messages = [question, { role: 'assistant', tool_calls: [call] }];
    const promptOf = (name: string) => renderPrompt(templateOf(name), messages, {}).text;
    expect(promptOf('qwen3')).toContain('{"name": "f", "arguments": {"n": 1}}');
    expect(promptOf('qwen3-coder')).toContain('<parameter=n>\n1\n</parameter>');
    expect(promptOf('deepseek-v3')).toContain('f\n```json\n{"n":1}\n```');
  });

  it('that is an empty list is none', () => {
    const messages = [question, { role: 'assistant', content: 'Yes', tool_calls: [] }];
    expect(renderPrompt(templateOf('deepseek-v3-0324'), messages, {}).text).not.toContain('tool▁calls');
  });
});

describe('a thinking budget of 0', () => {
  const promptOf = (name: string, options: ChatOptions = {}) =>
    renderPrompt(templateOf(name), [question], { thinkingBudget: 0, ...options });

  it.each([
    ['qwen3', '<|im_start|>assistant\n<think>\n\n</think>\n\n', 'closed'],
    ['qwen3-thinking-2507', '<|im_start|>assistant\n<think>\n\n</think>\n\n', 'closed'],
    ['deepseek-v3.1', '<｜Assistant｜></think>', 'closed'],
    ['qwen2.5-instruct', '<|im_start|>assistant\n', 'ask'],
  ])('closes the think block of %s', (name, ending, thinking) => {
    const prompt = promptOf(name);
    expect(prompt.text.endsWith(ending)).toBe(true);
    expect(prompt.thinking).toBe(thinking);
  });

  it('wins over enableThinking', () => {
    expect(promptOf('qwen3', { enableThinking: true }).text).toMatch(/<think>\n\n<\/think>\n\n$/);
  });
});

describe('messages and tools that cannot be used', () => {
  const call = { id: 'a', type: 'function', function: { name: 'f', arguments: '{}' } };
  const calling = { role: 'assistant', content: '', tool_calls: [call] };
  const result = { role: 'tool', tool_call_id: 'a', content: '5' };
  it.each<[string, unknown[], object, RegExp]>([
    ['a result without a call', [question, result], {}, /messages\[1\] is the result of a tool, but no call/],
    ['a result behind another message', [calling, question, result], {}, /messages\[2\] .* no call/],
    [
      'a result of another call',
      [calling, { ...result, tool_call_id: 'b' }],
      {},
      /messages\[1\]\.tool_call_id is "b".*: a/,
    ],
    [
      'calls that are none',
      [{ role: 'assistant', tool_calls: [{ id: 'a' }] }],
      {},
      /messages\[0\]\.tool_calls is/,
    ],
    ['a message that is none', [question, null], {}, /messages\[1\] is null/],
    ['no messages', [], {}, /messages is empty/],
    [
      'tools that are no list',
      [question],
      { tools: { f: {} } },
      /tools is \{"f":\{\}\}, wanted a list of functions/,
    ],
    ['a tool without a name', [question], { tools: [{ type: 'function', function: {} }] }, /tools is/],
    ['a negative budget', [question], { thinkingBudget: -5 }, /thinkingBudget is -5, wanted a whole number/],
    ['a text as budget', [question], { thinkingBudget: '5' }, /thinkingBudget is 5/],
  ])('%s: an error that says so', (_, messages, options, message) => {
    const render = () => renderPrompt(templateOf('qwen3'), messages as ChatMessage[], options as ChatOptions);
    expect(render).toThrow(InvalidInputError);
    expect(render).toThrow(message);
  });
});
