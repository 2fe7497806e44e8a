/** @file What holds for every text and every sequence of ids, on random ones. fast-check prints the seed of a failure. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readPatterns, regexSplitter } from '../../tokenizer/pretokenize.ts';
import { knownScanner } from '../../tokenizer/scanners.ts';
import { anyText, piecesOf } from './any-text.ts';
import { loadTokenizer, PATIENT, tokenizerOf } from './tokenizers.ts';

const isEqual = (a: ArrayLike<unknown>, b: ArrayLike<unknown>): boolean =>
  JSON.stringify(Array.from(a)) === JSON.stringify(Array.from(b));

for (const model of ['qwen3', 'deepseek_v3'] as const) {
  describe(model, PATIENT, () => {
    const anyIds = () =>
      fc.array(fc.integer({ min: 0, max: tokenizerOf(model).vocabSize + 20 }), { maxLength: 20 });

    test('the hand-written scanner cuts text as the regular expressions do', () => {
      const patterns = readPatterns(loadTokenizer(model).preTokenizer);
      const scan = knownScanner(patterns.map(({ pattern }) => pattern))!;
      const split = regexSplitter(patterns);
      fc.assert(
        fc.property(anyText, (text) => isEqual(piecesOf(scan, text), piecesOf(split, text))),
        { numRuns: 1000 },
      );
    });

    test('decoding what was encoded gives the text back, in every mode', () => {
      const tokenizer = tokenizerOf(model);
      fc.assert(
        fc.property(anyText, fc.constantFrom('parse', 'split', 'plain'), (anything, special) => {
          // Qwen normalizes, DeepSeek does not.
          const text = model === 'qwen3' ? anything.normalize('NFC') : anything;
          return tokenizer.decode(tokenizer.encode(text, { special, addBos: false })) === text;
        }),
        { numRuns: 1000 },
      );
    });

    test('plain text never yields an added token', () => {
      const tokenizer = tokenizerOf(model);
      const added = new Set(tokenizer.addedTokens.map(({ id }) => id));
      fc.assert(
        fc.property(anyText, (text) =>
          tokenizer.encode(text, { special: 'plain', addBos: false }).every((id) => !added.has(id)),
        ),
        { numRuns: 1000 },
      );
    });

    test('a stream gives what decode gives, and nothing before it is certain', () => {
      const tokenizer = tokenizerOf(model);
      const idsOfText = anyText.map((text) => Array.from(tokenizer.encode(text)));
      const byteIds = fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 20 });
      fc.assert(
        fc.property(fc.oneof(anyIds(), idsOfText, byteIds), fc.boolean(), (ids, skipSpecial) => {
          const stream = tokenizer.createStream({ skipSpecial });
          let text = '';
          ids.forEach((id, i) => {
            text += stream.push(id);
            // Whatever comes next can only change an incomplete character at the end.
            if (!tokenizer.decode(ids.slice(0, i + 1), { skipSpecial }).startsWith(text))
              throw new Error(`at ${i}`);
          });
          return text + stream.flush() === tokenizer.decode(ids, { skipSpecial });
        }),
        { numRuns: 1000 },
      );
    });
  });
}

test('DeepSeek-V3 adds BOS by default and Qwen3 does not', PATIENT, () => {
  expect(Array.from(tokenizerOf('deepseek_v3').encode('hi')).slice(0, 1)).toEqual([0]);
  expect(tokenizerOf('qwen3').encode('hi').length).toBe(1);
});
