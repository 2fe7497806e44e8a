/** @file Texts of a model to deltas and messages, with the tool formats of the families and a tool with arguments of every kind. */
import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { createMessageBuilder } from '../../src/chat/message.ts';
import { MessageParser, type MessageParserOptions } from '../../src/chat/message-parser.ts';
import { toolFormatOf } from '../../src/chat/tool-formats.ts';
import type { AssistantMessage, ChatDelta, ToolDefinition } from '../../src/index.ts';
import type { FormatName } from './any-stream.ts';

const TEMPLATES = new URL('../fixtures/tokenizer-goldens/templates/', import.meta.url);
export const formatOf = (template: string) =>
  toolFormatOf(readFileSync(new URL(`${template}.jinja`, TEMPLATES), 'utf8'));
export const formats = {
  hermes: formatOf('qwen3')!,
  coder: formatOf('qwen3-coder')!,
  v3: formatOf('deepseek-v3')!,
  v31: formatOf('deepseek-v3.1')!,
};

export const definitions: ToolDefinition[] = [
  {
    type: 'function',
    function: {
      name: 'f',
      parameters: {
        type: 'object',
        properties: {
          text: { type: 'string' },
          count: { type: 'integer' },
          ratio: { type: 'number' },
          flag: { type: 'boolean' },
          list: { type: 'array', items: { type: 'integer' } },
          any: { anyOf: [{ type: 'integer' }, { type: 'string' }] },
          maybe: { type: ['object', 'null'] },
          size: { enum: ['s', 'm'] },
          ref: { $ref: '#/$defs/point' },
        },
      },
    },
  },
];

export const withTools = (format: FormatName): MessageParserOptions => ({
  start: 'closed',
  tools: { format: formats[format], definitions },
});

export function deltasOf(chunks: readonly string[], options: MessageParserOptions): ChatDelta[] {
  const parser = new MessageParser(options);
  return [...chunks.flatMap((chunk) => parser.push(chunk)), ...parser.end()];
}

/** The message, without the ids of calls, which are random. */
export function parse(chunks: readonly string[], options: MessageParserOptions): AssistantMessage {
  const builder = createMessageBuilder();
  for (const delta of deltasOf(chunks, options)) builder.add(delta);
  const message = builder.build();
  for (const call of message.tool_calls ?? []) {
    expect(call.id).toMatch(/^call_[0-9a-f]{24}$/);
    call.id = '';
  }
  return message;
}
