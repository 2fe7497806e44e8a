/** Streams of any model, cut anywhere: a property of every format of thinking and of tool calls. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createMessageBuilder } from '../../src/chat/message.ts';
import { reasoningFormats } from '../../src/chat/reasoning-formats.ts';
import { anyStream, FORMATS, type FormatName } from './any-stream.ts';
import { deltasOf, parse, withTools } from './parsed.ts';

const kinds = Object.entries(reasoningFormats);
const anyReasoning = fc.constantFrom(...Object.values(reasoningFormats));

describe('any stream', () => {
  it.each(kinds)(
    'of plain text and %s thinking gives the same message however it was cut',
    (_, reasoning) => {
      const { open, close } = reasoning;
      const pieces = [
        open,
        close,
        open.slice(0, 3),
        close.slice(0, -2),
        '<',
        'think',
        '>',
        '</',
        '\n',
        '\n\n',
        'a',
        'b',
        'ab',
        'abc',
        '🙂',
        ' ',
        'stop',
        'sto',
        'top',
      ];
      const text = fc.array(fc.constantFrom(...pieces), { maxLength: 24 }).map((list) => list.join(''));
      const stops = fc.subarray(['stop', 'abc', 'bca', 'c', 'top\n', 'b<']);
      const start = fc.constantFrom('open' as const, 'closed' as const, 'ask' as const);
      fc.assert(
        fc.property(text, stops, start, cuts, (whole, stop, begin, lengths) => {
          const options = { start: begin, reasoning, stop };
          expect(parse(cutAt(whole, lengths), options)).toEqual(parse([whole], options));
        }),
        { numRuns: 1500 },
      );
    },
  );

  it.each(kinds)(
    'of %s thinking and text has both back, without the line breaks around the tags',
    (_, reasoning) => {
      const { open, close } = reasoning;
      const words = fc.array(fc.constantFrom('a', ' ', '\n', '<', '[', '</', open.slice(0, -1), '🙂'), {
        maxLength: 8,
      });
      const anyText = words.map((list) => list.join('')).filter((text) => !text.includes(close));
      fc.assert(
        fc.property(anyText, anyText, fc.boolean(), cuts, (thought, text, isOpened, lengths) => {
          const whole = `${isOpened ? '' : open}${thought}${close}${text}`;
          const message = parse(cutAt(whole, lengths), { start: isOpened ? 'open' : 'ask', reasoning });
          expect(message.reasoning_content).toBe(thought.replace(/^\n+|\n+$/g, ''));
          expect(message.content).toBe(text.replace(/^\n+/, ''));
        }),
        { numRuns: 500 },
      );
    },
  );

  it.each(FORMATS)('with %s calls gives the same message however it was cut, and loses nothing', (name) => {
    const start = fc.constantFrom('open' as const, 'closed' as const, 'ask' as const);
    const stops = fc.subarray(['stop', '<tool_call>{', 'op<', '<｜tool▁calls▁begin｜><', '}}']);
    fc.assert(
      fc.property(streams(name), stops, start, cuts, ([reasoning, whole], stop, begin, lengths) => {
        const options = { ...withTools(name), start: begin, reasoning, stop };
        const message = parse([whole], options);
        expect(parse(cutAt(whole, lengths), options)).toEqual(message);
        expect(parse(whole.split(''), options)).toEqual(message);
        for (const call of message.tool_calls ?? []) {
          expect(call.function.name).not.toBe('');
          expect(JSON.parse(call.function.arguments)).toBeTypeOf('object');
        }
        if (!message.tool_calls && stop.length === 0 && begin === 'closed') {
          expect(message.content).toBe(whole);
        }
      }),
      { numRuns: 500 },
    );
  });

  it.each(FORMATS)('with %s calls gives complete arguments of nothing but calls of the message', (name) => {
    fc.assert(
      fc.property(anyStream(name), (whole) => {
        const builder = createMessageBuilder();
        const seen = new Set<string>();
        for (const delta of deltasOf(whole.split(''), withTools(name))) {
          builder.add(delta);
          for (const call of builder.build().tool_calls ?? [])
            if (isJson(call.function.arguments)) seen.add(call.id);
        }
        expect(builder.build().tool_calls?.map(({ id }) => id) ?? []).toEqual([...seen]);
      }),
      { numRuns: 200 },
    );
  });

  /** Streams of a tool format with thinking of any format. */
  const streams = (name: FormatName) =>
    anyReasoning.chain((reasoning) => fc.tuple(fc.constant(reasoning), anyStream(name, reasoning)));

  function isJson(text: string): boolean {
    try {
      JSON.parse(text);
      return true;
    } catch {
      return false;
    }
  }

  const cuts = fc.array(fc.nat(12), { maxLength: 60 });

  function cutAt(whole: string, lengths: readonly number[]): string[] {
    let rest = whole;
    const chunks = lengths.map((length) => {
      const chunk = rest.slice(0, length);
      rest = rest.slice(length);
      return chunk;
    });
    return [...chunks, rest];
  }
});
