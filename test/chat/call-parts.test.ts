/** Calls that a mask has held to their form are calls for the parser, with arguments that fit the schema, whatever tokens are drawn. */
import { Ajv } from 'ajv';
import { describe, expect, it } from 'vitest';
import { callParts } from '../../src/chat/call-parts.ts';
import { createMessageBuilder } from '../../src/chat/message.ts';
import { MessageParser } from '../../src/chat/message-parser.ts';
import { toolFormatOf } from '../../src/chat/tool-formats.ts';
import type { AssistantMessage, ToolDefinition } from '../../src/chat/types.ts';
import { type Constraint, compileConstraint, type Vocabulary } from '../../src/constrain/index.ts';
import { isAllowed, type Kit, smallKit } from '../constrain/vocabularies.ts';
import { numCases } from '../num-cases.ts';
import { seededRandom } from '../seeded-random.ts';

const TEMPLATES = {
  hermes: '<tool_call>',
  'the XML of Qwen3-Coder': '<tool_call><function=',
  'DeepSeek-V3': '<｜tool▁sep｜>```json',
  'DeepSeek-V3.1': '<｜tool▁sep｜>',
};

const tools: ToolDefinition[] = [
  {
    type: 'function',
    function: {
      name: 'set_light',
      strict: true,
      parameters: {
        type: 'object',
        properties: {
          room: { type: 'string' },
          mode: { enum: ['warm', 'cold'] },
          level: { type: 'integer', minimum: 0, maximum: 100 },
          times: { type: 'array', items: { $ref: '#/$defs/time' }, maxItems: 2 },
          isOn: { type: 'boolean' },
        },
        required: ['room', 'mode', 'level'],
        additionalProperties: false,
        $defs: { time: { type: 'object', properties: { hour: { type: 'integer' } }, required: ['hour'] } },
      },
    },
  },
  { type: 'function', function: { name: 'stop-all', strict: true } },
];

/** The vocabulary as a call has it: tags are tokens, and text. */
function withTags(kit: Kit): Kit {
  const tags = new Map(
    kit.tokenizer.addedTokens
      .filter(({ content }) => content.endsWith('tool_call>'))
      .map(({ id, content }) => [id, new TextEncoder().encode(content)]),
  );
  const vocabulary: Vocabulary = {
    ...kit.vocabulary,
    bytesOf: (id) => tags.get(id) ?? kit.vocabulary.bytesOf(id),
  };
  return { ...kit, vocabulary };
}

const ENDINGS = ['\n</parameter>\n', '"', '}', ']', '1'];

/** Random tokens, of which more and more end what has begun. */
function randomCalls(begin: Constraint, { tokenizer, vocabulary, stop }: Kit, random: () => number): string {
  let constraint = begin;
  const ids: number[] = [];
  for (let step = 0; !constraint.isDone; step++) {
    const mask = constraint.mask();
    if (isAllowed(mask, stop) && random() < step / 50) break;
    const ending = ENDINGS[Math.floor(random() * ENDINGS.length)]!;
    const words = tokenizer.encode(ending, { special: 'plain', addBos: false });
    const ended = random() < step / 50 ? constraint.fork() : undefined;
    if (ended && takes(ended, words)) {
      constraint = ended;
      ids.push(...words);
      continue;
    }
    let token = Math.floor(random() * vocabulary.size);
    while (token === stop || !isAllowed(mask, token)) token = (token + 1) % vocabulary.size;
    constraint.accept(token);
    ids.push(token);
  }
  return tokenizer.decode(ids);
}

/** Takes the tokens, as far as they are allowed. */
function takes(constraint: Constraint, ids: Iterable<number>): boolean {
  for (const id of ids) {
    if (!isAllowed(constraint.mask(), id)) return false;
    constraint.accept(id);
  }
  return true;
}

function read(template: string, text: string): AssistantMessage {
  const parser = new MessageParser({
    start: 'closed',
    tools: { format: toolFormatOf(template)!, definitions: tools },
  });
  const builder = createMessageBuilder();
  for (const delta of [...parser.push(text), ...parser.end()]) builder.add(delta);
  return builder.build();
}

describe.each(Object.entries(TEMPLATES))('a call in the format %s', (_, template) => {
  const { kind } = toolFormatOf(template)!;
  const kit = withTags(smallKit());
  const fits = new Ajv().compile(tools[0]!.function.parameters!);

  it.each(['one', 'several'] as const)('is one, with arguments of its schema: %s', (which) => {
    const parts = callParts(kind, tools)[which];
    for (let i = 0; i < numCases(12); i++) {
      const seed = Math.floor(Math.random() * 2 ** 32);
      const constraint = compileConstraint({ type: 'parts', parts }, kit.vocabulary);
      const text = randomCalls(constraint, kit, seededRandom(seed));
      const { content, malformed, tool_calls: calls = [] } = read(template, text);
      const told = `seed ${seed}: ${text}`;
      expect({ content, malformed }, told).toEqual({ content: '' });
      expect(calls.length, told).toBeGreaterThan(0);
      if (which === 'one') expect(calls, told).toHaveLength(1);
      for (const { function: called } of calls) {
        const args: unknown = JSON.parse(called.arguments);
        if (called.name === 'set_light') expect(fits(args), told).toBe(true);
        else expect(called.name, told).toBe('stop-all');
      }
    }
  });

  it('whose strict schema cannot be enforced is an error that names it; others take any object', () => {
    const parameters = { type: 'object', properties: { a: { type: 'object', not: {} } }, required: ['a'] };
    const given = (strict: boolean): ToolDefinition[] => [
      { type: 'function', function: { name: 'f', parameters, strict } },
    ];
    const compile = (strict: boolean) =>
      compileConstraint({ type: 'parts', parts: callParts(kind, given(strict)).one }, kit.vocabulary);
    expect(() => compile(true)).toThrow(/^tools\[0\]\.function\.parameters.*not cannot be enforced/);
    expect(compile(false).canEnd).toBe(false);
  });
});
