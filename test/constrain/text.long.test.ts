/** @file Regular expressions against those of JavaScript, and grammars. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileConstraint } from '../../src/constrain/index.ts';
import { seededRandom } from '../seeded-random.ts';
import { PATIENT } from '../tokenizer/tokenizers.ts';
import { largeKit, randomText, refusal, smallKit } from './vocabularies.ts';

const begin = (pattern: string, kit = smallKit()) =>
  compileConstraint({ type: 'regex', pattern }, kit.vocabulary);
const whole = (pattern: string) => new RegExp(`^(?:${pattern})$`, 'u');

/** RegExp tries every way through groups that repeat: minutes for eight characters of some patterns. */
const repeats = (pattern: string): number => pattern.match(/\)[*+{]/g)?.length ?? 0;

/** Patterns over a few characters, so that random texts often match. */
const atom = fc.constantFrom(
  'a',
  'b',
  'é',
  '中',
  '😀',
  '[ab]',
  '[^a]',
  '[a-cé-ï]',
  '.',
  '\\d',
  '\\w',
  '\\s',
  '\\S',
  '\\u00e9',
  '\\x61',
  '\\p{Lu}',
  '\\.',
);
const { pattern: anyPattern } = fc.letrec<{ pattern: string; item: string }>((tie) => ({
  item: fc
    .tuple(
      fc.oneof(
        { maxDepth: 2, depthSize: 'small', withCrossShrink: true },
        atom,
        tie('pattern').map((inner) => `(?:${inner})`),
      ),
      fc.constantFrom('', '', '', '*', '+', '?', '{2}', '{1,3}', '{0,7}', '{2,}', '*?', '+?'),
    )
    .map(([inner, quantifier]) => inner + quantifier),
  pattern: fc
    .array(
      fc.array(tie('item'), { maxLength: 4 }).map((items) => items.join('')),
      { minLength: 1, maxLength: 3 },
    )
    .map((alternatives) => alternatives.join('|')),
}));
const anyText = fc.string({
  unit: fc.constantFrom('a', 'b', 'c', 'é', '中', '😀', '1', ' ', 'Z', '.', '\n'),
  maxLength: 8,
});

describe('regular expressions', PATIENT, () => {
  test('allow just the texts that match in JavaScript (1,024 tokens)', () => {
    fc.assert(
      fc.property(anyPattern, fc.array(anyText, { maxLength: 12 }), (pattern, texts) => {
        fc.pre(repeats(pattern) < 3);
        for (const any of texts) {
          const text = [...any].slice(0, repeats(pattern) > 0 ? 4 : 8).join('');
          const isTaken = refusal(begin(pattern), smallKit(), text) === undefined;
          if (isTaken !== whole(pattern).test(text))
            throw new Error(`${JSON.stringify(text)}: taken is ${isTaken}`);
        }
      }),
      { numRuns: 60 },
    );
  });

  test('what is drawn from the masks matches in JavaScript', () => {
    const draw = (kit: ReturnType<typeof smallKit>, pattern: string, seed: number) => {
      let text: string;
      fc.pre(repeats(pattern) < 3);
      const maxTokens = repeats(pattern) > 0 ? 4 : 80;
      try {
        text = randomText(begin(pattern, kit), kit, seededRandom(seed), 4, 'abcé中😀1 Z.ïA', maxTokens);
      } catch (error) {
        // By chance alone, some patterns take too long to end; a few of the nested ones are refused for their ambiguity.
        return fc.pre(!/no end after|too ambiguous/.test(String(error)));
      }
      if (!whole(pattern).test(text)) throw new Error(`${JSON.stringify(text)} does not match`);
    };
    fc.assert(
      fc.property(anyPattern, fc.integer(), (pattern, seed) => draw(smallKit(), pattern, seed)),
      { numRuns: 40 },
    );
    for (const pattern of ['[a-cé-ï]{1,9}', '(a|b中)*😀?', '\\w+\\s\\d{2,4}']) draw(largeKit(), pattern, 7);
  });

  test.each([
    ['^a$|^b', 'b', true],
    ['(?<year>\\d{4})-\\d\\d', '2024-12', true],
    ['[\\]\\-^]+', ']-^', true],
    ['[a-]', '-', true],
    ['\\ud83d\\ude00', '😀', true],
    ['\\u{1F600}', '😀', true],
    ['[^\\n]*', 'a\nb', false],
    ['(a{0,1000}b){2}', `${'a'.repeat(900)}bab`, true],
    ['a{3,}', 'aa', false],
    ['(a?){0,200}', 'aaa', true],
    ['', '', true],
  ])('%s and %j', (pattern, text, isTaken) => {
    expect(refusal(begin(pattern), smallKit(), text) === undefined).toBe(isTaken);
  });
});

const JSON_GRAMMAR = `
# JSON, as llama.cpp ships it
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws (
            value
    ("," ws value)*
  )? "]" ws
string ::= "\\"" ( [^"\\\\\\x7F\\x00-\\x1F] | "\\\\" (["\\\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\\n" [ \\t]{0,20}
`;

describe('grammars', PATIENT, () => {
  const kit = smallKit();
  const start = (grammar: string) => compileConstraint({ type: 'grammar', grammar }, kit.vocabulary);

  test('a grammar of JSON allows JSON and gives JSON', () => {
    fc.assert(
      fc.property(
        fc.dictionary(
          fc.stringMatching(/^[ -~]*$/),
          fc.jsonValue({ maxDepth: 3, noUnicodeString: true } as object),
        ),
        (value) => {
          const text = JSON.stringify(value)
            .replace(/\\ud[89a-f][0-9a-f]{2}/g, 'x')
            .replace(/[\u007f]/g, 'x');
          // The grammar has no more than 16 digits before the point and no 10 in an exponent.
          if (/\d{17}|e[+-]\d/.test(text)) return;
          const why = refusal(start(JSON_GRAMMAR), kit, text);
          if (why !== undefined) throw new Error(`${text} is refused ${why}`);
        },
      ),
      { numRuns: 40 },
    );
    for (let seed = 0; seed < 30; seed++) {
      expect(() => JSON.parse(randomText(start(JSON_GRAMMAR), kit, seededRandom(seed)))).not.toThrow();
    }
  });

  test.each([
    ['brackets that match, at any depth', 'root ::= "(" root ")" root | ""', '(()((())))', true],
    ['brackets that do not match', 'root ::= "(" root ")" root | ""', '(()', false],
    ['recursion on the right over a long list', 'root ::= "a" root | "."', `${'a'.repeat(2000)}.`, true],
    ['rules in any order, over several lines', 'b ::= "x" |\n "y"\nroot ::= b\n  b*', 'xyx', true],
    ['two ways to read one text', 'root ::= x x "."\nx ::= "a" | "aa"', 'aaa.', true],
    ['counts', 'root ::= [a-z]{2,5} "!"', 'abcdef!', false],
    ['counts without a minimum', 'root ::= "a"{,3}', 'aaa', true],
    ['escapes', 'root ::= "\\"\\\\\\n\\x41\\u00e9" [\\]\\-]', '"\\\nAé]', true],
    ['any character', 'root ::= .', '😀', true],
    ['palindromes', 'root ::= "a" root "a" | "b" root "b" | "c"', 'abbacabba', true],
    ['no palindromes', 'root ::= "a" root "a" | "b" root "b" | "c"', 'abbacabab', false],
  ])('%s', (_, grammar, text, isTaken) => {
    expect(refusal(start(grammar), kit, text) === undefined).toBe(isTaken);
  });
});
