/** Streams of any model, cut anywhere: a property of every format of tool calls. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createMessageBuilder } from '../../src/chat/message.ts';
import { anyStream, FORMATS } from './any-stream.ts';
import { deltasOf, parse, withTools } from './parsed.ts';

describe('any stream', () => {
  it('of plain text gives the same message however it was cut', () => {
    const pieces = [
      '<think>',
      '</think>',
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
        const options = { start: begin, stop };
        expect(parse(cutAt(whole, lengths), options)).toEqual(parse([whole], options));
      }),
      { numRuns: 1500 },
    );
  });

  it.each(FORMATS)('with %s calls gives the same message however it was cut, and loses nothing', (name) => {
    const start = fc.constantFrom('open' as const, 'closed' as const, 'ask' as const);
    const stops = fc.subarray(['stop', '<tool_call>{', 'op<', '<｜tool▁calls▁begin｜><', '}}']);
    fc.assert(
      fc.property(anyStream(name), stops, start, cuts, (whole, stop, begin, lengths) => {
        const options = { ...withTools(name), start: begin, stop };
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
