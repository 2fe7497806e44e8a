/** @file Oniguruma patterns mean in JavaScript what they mean in tokenizer.json, or are refused by name. */
import { describe, expect, test } from 'vitest';
import { TokenizerError } from '../../tokenizer/index.ts';
import { compileOniguruma, escapeText } from '../../tokenizer/regex.ts';

const matches = (pattern: string, text: string): string[] =>
  Array.from(text.matchAll(compileOniguruma(pattern, 'pattern')), ([match]) => match);

describe('what patterns match', () => {
  const cases: [pattern: string, text: string, wanted: string[]][] = [
    // White space is Unicode's: U+0085 is in, U+FEFF is not.
    ['\\s+', 'a\u0085\u00a0\u3000b\ufeffc\td', ['\u0085\u00a0\u3000', '\t']],
    ['\\S+', 'a\u0085b\ufeffc', ['a', 'b\ufeffc']],
    ['[^\\S\\n]+', ' \t\n ', [' \t', ' ']],
    ["(?i:'s|'t)", "'s'S'ſ'T'x", ["'s", "'S", "'ſ", "'T"]],
    ['(?i:[j-l])+', 'jKL\u212am', ['jKL\u212a']],
    ['(?i:[^s])', 'sSſx', ['x']],
    ['(?i:a(?-i:b))', 'AbABab', ['Ab', 'ab']],
    ['\\d', '1٣½', ['1', '٣']],
    ['.', 'a\n\r\u2028', ['a', '\r', '\u2028']],
    ['\\p{L}+|\\p{^L}', 'aé1', ['aé', '1']],
    ['\\P{^L}', 'a1', ['a']],
    ['\\p{Han}+', 'a中文の', ['中文']],
    ['[a-z&&[^aeiou]]+', 'abcde', ['bcd']],
    ['[[a-c][x-z]]+', 'abxm', ['abx']],
    ['[^a&&b]', 'abc', ['a', 'b', 'c']],
    ['[\\]\\[^-]+', '[]^-', ['[]^-']],
    ['[一-龥ぁ-ん]+', '日本のカ', ['日本の']],
    ['\\x41|\\x{1F600}|\\u00e9', 'A😀é', ['A', '😀', 'é']],
    ['{a}|b{1,2}|c{,1}d', '{a}bbbccd', ['{a}', 'bb', 'b', 'cd']],
    ['a+?b|c??d', 'aabcd', ['aab', 'cd']],
    ['(?<=a)b|(?<!a)c(?=d)|e(?!f)', 'ab cd ef ee', ['b', 'c', 'e', 'e']],
    ['\\s+(?!\\S)|\\s+', 'a   b  ', ['  ', ' ', '  ']],
    ['a++ab|b', 'aaab', ['b']],
    ['a*+b|(?>a|ab)c|a?+x', 'aab abc ac ax', ['aab', 'ab', 'ac', 'ax']],
    ['(?:[ab]++c)++', 'abcbcab', ['abcbc']],
    ['/-#&~!@`', '/-#&~!@`', ['/-#&~!@`']],
  ];
  test.each(cases)('%s', (pattern, text, wanted) => {
    expect(matches(pattern, text)).toEqual(wanted);
  });

  test('an escaped text matches itself', () => {
    const text = '.*+?^$ {}()|[]\\/-&😀\n';
    expect(matches(escapeText(text), `x${text}y`)).toEqual([text]);
  });
});

describe('what cannot be converted is refused by name', () => {
  const cases: [pattern: string, named: RegExp][] = [
    ['a{2}+', /quantifier \{2\}\+/],
    ['a++{2}', /nothing to repeat/],
    ['(?<name>a)', /group/],
    ['(?i)a', /group/],
    ['^a', /anchor \^/],
    ['a$', /anchor \$/],
    ['\\bfoo', /escape \\b/],
    ['\\w', /escape \\w/],
    ['(a)\\1', /escape \\1/],
    ['\\p{Alpha}', /property \\p\{Alpha\}/],
    ['\\p{constructor}', /property/],
    ['\\pL', /malformed \\p/],
    ['\\x80', /malformed \\x/],
    ['\\x{110000}', /malformed \\x/],
    ['[[:alpha:]]', /POSIX bracket/],
    ['[]a]', /begins with \]/],
    ['[z-a]', /malformed range/],
    ['[a-\\d]', /malformed range/],
    ['[a&&]', /empty side/],
    ['[a', /cut off/],
    ['(a', /cut off/],
    ['a)', /unmatched \)/],
    ['a\\', /cut off/],
    ['*a', /nothing to repeat/],
    ['(?i:ß)', /without regard to case/],
    ['(?i:stop)', /ligature/],
    ['(?i:\\p{Lu})', /without regard to case/],
    ['a{2,1}', /engine rejects/],
    ['(?=a)*', /engine rejects/],
    ['a'.repeat(20_000), /20000 characters/],
    ['a{2}{3}', /quantifier \{2\}\{3\}/],
    ['a*?{2}', /quantifier/],
    ['{2}a', /nothing to repeat/],
    [`${'('.repeat(1_000)}`, /nested/],
    [`${'['.repeat(1_000)}`, /nested/],
  ];
  test.each(cases.map(([pattern, named]) => ({ pattern, named, shown: pattern.slice(0, 20) })))(
    '$shown',
    ({ pattern, named }) => {
      const compile = () => compileOniguruma(pattern, 'pre_tokenizer.pattern.Regex');
      expect(compile).toThrow(TokenizerError);
      expect(compile).toThrow(named);
      expect(compile).toThrow(/^pre_tokenizer\.pattern\.Regex/);
    },
  );
});
