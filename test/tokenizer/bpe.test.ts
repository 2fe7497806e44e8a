/** @file Byte pair encoding of any word, against a textbook's. fast-check prints the seed of a failure. */
import fc from 'fast-check';
import { describe, test } from 'vitest';
import { numCases } from '../num-cases.ts';
import { textbookBpe } from './textbook-bpe.ts';
import { tinyJson, tinyTokenizer } from './tiny-json.ts';
import { PATIENT } from './tokenizers.ts';

const isEqual = (a: ArrayLike<unknown>, b: ArrayLike<unknown>): boolean =>
  JSON.stringify(Array.from(a)) === JSON.stringify(Array.from(b));

describe('byte pair encoding', PATIENT, () => {
  test('gives the tokens of the textbook algorithm, for short words and for long ones', () => {
    const tokenizer = tinyTokenizer();
    const merges = tinyJson().model.merges as [string, string][];
    const fragments = fc.constantFrom(
      ...merges.map(([left, right]) => (left + right).replace(/[^a-z]/g, '')),
      'a',
      'q',
    );
    const word = fc.array(fragments, { minLength: 1, maxLength: 60 }).map((parts) => parts.join('') || 'a');
    fc.assert(
      fc.property(word, (text) => {
        const tokens = Array.from(tokenizer.encode(text), (id) => tokenizer.idToToken(id));
        return isEqual(tokens, textbookBpe(text, merges));
      }),
      { numRuns: numCases(300) },
    );
  });

  test('gives the tokens of the textbook algorithm for any table of rules, in any order', () => {
    /** Every word of one to five letters a and b; many rules make the same token, and later ones may rank first. */
    const tokens = Array.from({ length: 62 }, (_, i) => (i + 2).toString(2).slice(1)).map((bits) =>
      bits.replace(/0/g, 'a').replace(/1/g, 'b'),
    );
    const rules = tokens.flatMap((token) =>
      Array.from(
        { length: token.length - 1 },
        (_, i) => [token.slice(0, i + 1), token.slice(i + 1)] as const,
      ),
    );
    const json = tinyJson();
    const rest = Object.entries(json.model.vocab).filter(
      ([token]) => token.length === 1 && !/[ab]/.test(token),
    );
    const vocab = Object.fromEntries([...rest, ...tokens.map((token, i) => [token, 2000 + i] as const)]);
    const anyRules = fc.shuffledSubarray(rules, { minLength: 1 });
    const anyWord = fc.array(fc.constantFrom('a', 'b', 'ab', 'aab', 'bbbb'), {
      minLength: 1,
      maxLength: 120,
    });
    fc.assert(
      fc.property(anyRules, fc.array(anyWord, { minLength: 3, maxLength: 3 }), (merges, words) => {
        const tokenizer = tinyTokenizer((changed) => Object.assign(changed.model, { vocab, merges }));
        return words.every((parts) => {
          const word = parts.join('');
          const found = Array.from(tokenizer.encode(word), (id) => tokenizer.idToToken(id));
          return isEqual(found, textbookBpe(word, merges));
        });
      }),
      { numRuns: numCases(100) },
    );
  });

  test('many different words, more than are remembered, keep their ids', () => {
    const tokenizer = tinyTokenizer();
    const wordAt = (i: number): string => `w${i.toString(36)}`;
    const before = Array.from({ length: 50 }, (_, i) => tokenizer.encode(wordAt(i)));
    tokenizer.encode(Array.from({ length: 150_000 }, (_, i) => wordAt(i)).join(' '));
    const fresh = tinyTokenizer();
    before.forEach((ids, i) => {
      if (!isEqual(tokenizer.encode(wordAt(i)), ids) || !isEqual(fresh.encode(wordAt(i)), ids))
        throw new Error(wordAt(i));
    });
  });
});
