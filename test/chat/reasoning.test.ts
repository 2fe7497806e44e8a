import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createReasoningParser, type ReasoningOptions } from '../../src/chat/reasoning.ts';

function parse(chunks: readonly string[], options: ReasoningOptions): { reasoning: string; content: string } {
  const parser = createReasoningParser(options);
  const deltas = [...chunks.flatMap((c) => parser.push(c)), ...parser.end()];
  return {
    reasoning: deltas.map((d) => d.reasoning ?? '').join(''),
    content: deltas.map((d) => d.content ?? '').join(''),
  };
}

describe('reasoning', () => {
  it.each([
    ['ask', '<think>\nones 5+6\n</think>\n\n61.', { reasoning: 'ones 5+6', content: '61.' }],
    ['ask', '61.', { reasoning: '', content: '61.' }],
    ['ask', '<think>never closed', { reasoning: 'never closed', content: '' }],
    ['ask', '<think>\n\n</think>\n\nyes', { reasoning: '', content: 'yes' }],
    ['ask', '<thin', { reasoning: '', content: '<thin' }],
    ['open', 'a\n\nb\n</think>\n\nc\n', { reasoning: 'a\n\nb', content: 'c\n' }],
    ['open', 'no end', { reasoning: 'no end', content: '' }],
    ['closed', 'text </think> stays', { reasoning: '', content: 'text </think> stays' }],
    ['closed', '', { reasoning: '', content: '' }],
  ] as const)('started %s, %j is cut as expected', (start, text, wanted) => {
    expect(parse([text], { start })).toEqual(wanted);
  });

  it('looks for stop texts in content only, and gives nothing after the first', () => {
    const stop = ['END', 'B'];
    expect(parse(['<think>END</think>\n\nabcENDdef'], { start: 'ask', stop })).toEqual({
      reasoning: 'END',
      content: 'abc',
    });
    expect(parse(['xBy'], { start: 'closed', stop })).toEqual({ reasoning: '', content: 'x' });
  });

  it('does not depend on how the stream was cut', () => {
    const piece = fc.constantFrom(
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
    );
    const text = fc.array(piece, { maxLength: 24 }).map((pieces) => pieces.join(''));
    const stops = fc.subarray(['stop', 'abc', 'bca', 'c', 'top\n', 'b<']);
    const start = fc.constantFrom('open' as const, 'closed' as const, 'ask' as const);
    fc.assert(
      fc.property(text, stops, start, fc.array(fc.nat(8), { maxLength: 40 }), (whole, stop, begin, cuts) => {
        const chunks: string[] = [];
        let rest = whole;
        for (const n of cuts) {
          chunks.push(rest.slice(0, n));
          rest = rest.slice(n);
        }
        const options = { start: begin, stop };
        expect(parse([...chunks, rest], options)).toEqual(parse([whole], options));
      }),
      { numRuns: 3000 },
    );
  });
});
