/**
 * @file What a tokenizer.json or a text may cost: it is bounded, or an error names the part. The sizes are such that work of the wrong
 * order would meet the time limit of the runner.
 */
import { describe, expect, test } from 'vitest';
import { Tokenizer, TokenizerError } from '../../tokenizer/index.ts';
import { readNormalizer } from '../../tokenizer/normalize.ts';
import { compileOniguruma } from '../../tokenizer/regex.ts';
import { type AddedTokenJson, tinyJson, tinyTokenizer } from './tiny-json.ts';

const refuse = (load: () => unknown, message: RegExp): void => {
  expect(load).toThrow(TokenizerError);
  expect(load).toThrow(message);
};

describe('patterns', () => {
  test.each([
    '(a+)+b',
    '(a*)*b',
    '(a|a)+b',
    '(?:a|ab?)*c',
    '(?:(?:a?){20}){20}b',
    '(\\s*\\w)+x'.replace('\\w', '[a-z]?'),
    '(?=(a+)+b)',
    '(?i:(a+){2,})b',
    '(a{0,50}){50}b',
    '((a|b){1,4}){9}c',
  ])('%s, which can take exponential time, is refused by its name', (Regex) => {
    refuse(
      () =>
        tinyTokenizer((json) => {
          json.pre_tokenizer.pretokenizers[0]!.pattern = { Regex };
        }),
      /pretokenizers\[0\]\.pattern\.Regex is .*a repetition of what can match in several ways/,
    );
  });

  test.each([
    '(?=(\\d{3})+(?!\\d))',
    '(?:ab)+c',
    '(?>a+)+b',
    '(?:a++)+b',
    '(?:a+)?b',
    '(IMGIMG)((A|B|C|D){1,4})Z',
    '(?:(?=a+)a)+b',
    '[ab]*[bc]+',
  ])('%s, which cannot, is read', (pattern) => {
    // Exponential work would not end.
    expect(compileOniguruma(pattern, 'it').test('a'.repeat(200))).toBe(false);
  });
});

describe('added tokens', () => {
  const added = (tokens: AddedTokenJson[]) =>
    tinyTokenizer((json) => Object.assign(json, { added_tokens: tokens }));

  test('a million are refused', () => {
    const tokens = Array<AddedTokenJson>(1_000_000).fill({ id: 1015, content: '<x>' });
    refuse(() => added(tokens), /added_tokens is "1000000 tokens"; supported: at most 262144/);
    const decoder = { ...Array<unknown>(300_000).fill({ content: '<x>' }) };
    refuse(
      () => Tokenizer.fromJSON(tinyJson(), { added_tokens_decoder: decoder }),
      /tokenizer_config\.json: added_tokens_decoder is "300000 tokens"/,
    );
  });

  test('a huge one is refused, and so are many long ones', () => {
    refuse(
      () => added([{ id: 1015, content: 'x'.repeat(300) }]),
      /added_tokens\[0\]\.content is .*at most 256 characters/,
    );
    const tokens = Array.from({ length: 5000 }, (_, i) => ({
      id: 1015 + i,
      content: `${i}${'x'.repeat(200)}`,
    }));
    refuse(
      () => added(tokens),
      /added_tokens is "5000 tokens"; supported: texts of 524288 characters in all/,
    );
  });

  test('150,000 numbered ones are found', () => {
    const tokenizer = added(
      Array.from({ length: 150_000 }, (_, i) => ({ id: 1015 + i, content: `<|audio_${i}|>` })),
    );
    expect(Array.from(tokenizer.encode('<|audio_149999|><|audio_7|>'))).toEqual([151_014, 1022]);
  });

  test('a text of what could begin one is looked through once', () => {
    const tokenizer = added([{ id: 1015, content: `${'<'.repeat(200)}>` }]);
    expect(tokenizer.decode(tokenizer.encode('<'.repeat(100_000)))).toBe('<'.repeat(100_000));
  });

  test('white space that each of many tokens takes along is looked at once', () => {
    const tokenizer = added([
      { id: 1015, content: '\n', rstrip: true },
      { id: 1016, content: '<l>', lstrip: true },
    ]);
    const ids = tokenizer.encode(`${'\n'.repeat(200_000)}<l>`);
    expect(ids.length).toBe(200_001);
    expect([ids[0], ids[199_999], ids[200_000]]).toEqual([1015, 1015, 1016]);
  });
});

describe('normalizing', () => {
  test.each(['NFC', 'NFD', 'NFKC', 'NFKD'])('200,000 marks in no order are put in order by %s', (type) => {
    const normalize = readNormalizer({ type });
    const half = 100_000;
    expect(normalize(`x${'\u0301\u0323'.repeat(half)}`)).toBe(
      // x has no composed form with either.
      `x${'\u0323'.repeat(half)}${'\u0301'.repeat(half)}`,
    );
    if (type.includes('K')) {
      expect(normalize(`x${'\u0323\uff9e'.repeat(half)}`)).toBe(
        `x${'\u3099'.repeat(half)}${'\u0323'.repeat(half)}`,
      );
    }
  });

  test.each(['NFC', 'NFD', 'NFKC', 'NFKD'])(
    'rows of any marks are what the engine makes of them in %s',
    (type) => {
      const normalize = readNormalizer({ type });
      const marks = Array.from({ length: 0x1_f000 }, (_, i) =>
        String.fromCodePoint(i < 0xd800 ? i : i + 0x800),
      ).filter((char) => /[\p{M}\uff9e\uff9f]/u.test(char));
      // Steps through all marks, so that each stands beside many others.
      for (const step of [1, 7, 31, 101, 733]) {
        let text = '';
        for (let i = 0; i < 3000; i++) text += (i % 500 === 0 ? 'e' : '') + marks[(i * step) % marks.length]!;
        expect(normalize(text)).toBe(text.normalize(type));
      }
    },
  );
});

describe('tables', () => {
  /** FNV-1a over the bytes of a token in the byte alphabet, as token-index.ts has it. */
  const slotOf = (text: string, mask: number): number => {
    let hash = 0x811c9dc5 | 0;
    for (const char of text) hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193);
    return (hash ^ (hash >>> 15)) & mask;
  };

  test('a vocabulary of tokens that all fall into one place is refused', () => {
    const { vocab } = tinyJson().model;
    const numChosen = 4000 - Object.keys(vocab).length;
    const mask = 8191;
    const chosen: string[] = [];
    for (let i = 0; chosen.length < numChosen; i++) {
      const text = `zz${i.toString(36)}`;
      if (slotOf(text, mask) < 8) chosen.push(text);
    }
    refuse(
      () =>
        tinyTokenizer((json) =>
          Object.assign(json.model.vocab, Object.fromEntries(chosen.map((text, i) => [text, 2000 + i]))),
        ),
      /model\.vocab has tokens that were chosen to be slow to find/,
    );
  });

  test('merges of pairs that all fall into one place are refused', () => {
    const vocab: Record<string, number> = { ...tinyJson().model.vocab };
    const parts = Object.entries(vocab).slice(0, 256);
    const merges: [string, string][] = [];
    for (const [left, leftId] of parts) {
      for (const [right, rightId] of parts) {
        // The hash of merges.ts, in a table for 600 rules.
        const hash = Math.imul(leftId, 0x9e3779b1) ^ Math.imul(rightId, 0x85ebca6b);
        if (((hash ^ (hash >>> 15)) & 1023) < 10 && merges.length < 600) merges.push([left, right]);
      }
    }
    expect(merges.length).toBe(600);
    for (const [i, [left, right]] of merges.entries()) vocab[left + right] ??= 2000 + i;
    const load = () =>
      tinyTokenizer((json) => {
        Object.assign(json.model, { vocab, merges });
      });
    refuse(load, /model\.merges has pairs of ids that were chosen to be slow to find/);
  });

  test('a vocabulary with holes, and one id at the end of all, takes no time', () => {
    const tokenizer = tinyTokenizer((json) => Object.assign(json.model.vocab, { zq: 2 ** 22 - 1 }));
    expect(tokenizer.vocabSize).toBe(2 ** 22);
    expect(tokenizer.decode([5000, 2 ** 22 - 1])).toBe('zq');
  });
});
