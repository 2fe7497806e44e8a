/** @file What cannot be enforced is refused with its place and a way out, and nothing makes the engine hang. */
import { describe, expect, test } from 'vitest';
import { compileConstraint, type ResponseFormat } from '../../src/constrain/index.ts';
import { InvalidInputError } from '../../src/errors.ts';
import { PATIENT } from '../tokenizer/tokenizers.ts';
import { largeKit, refusal, smallKit } from './vocabularies.ts';

const compile = (format: unknown) => compileConstraint(format as ResponseFormat, smallKit().vocabulary);
const schema = (value: unknown, strict = false) => ({
  type: 'json_schema',
  json_schema: { schema: value, strict },
});

function messageOf(run: () => void): string {
  try {
    run();
  } catch (error) {
    if (error instanceof InvalidInputError) return error.message;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('messages', () => {
  test.each([
    ['another type of format', { type: 'yaml' }, /type is "yaml"; possible are json_object/],
    ['no format', undefined, /response_format\.type is undefined/],
    ['json_schema without its object', { type: 'json_schema' }, /must be an object/],
    ['a schema that is a string', schema('object'), /at #: a schema must be/],
    [
      'an unknown type',
      schema({ properties: { a: { type: 'text' } } }),
      /at #\/properties\/a: type is "text"; possible are/,
    ],
    [
      'an unknown keyword when strict',
      schema({ items: { maxlength: 3 } }, true),
      /at #\/items: the keyword maxlength is unknown/,
    ],
    [
      'an unknown format when strict',
      schema({ type: 'string', format: 'color' }, true),
      /format "color" is unknown; possible/,
    ],
    ['a keyword that is not enforced', schema({ not: {} }), /at #: the keyword not cannot be enforced/],
    ['oneOf', schema({ oneOf: [{}] }), /oneOf cannot be enforced\. Use anyOf/],
    ['an empty enum', schema({ enum: [] }), /enum is \[\]; it must be a list/],
    ['an enum against its type', schema({ type: 'string', enum: [1, 2] }), /no value of enum/],
    [
      'limits that contradict',
      schema({ properties: { n: { minimum: 3, maximum: 2 } }, required: ['n'] }),
      /Nothing can match #\/properties\/n/,
    ],
    [
      'lengths that contradict',
      schema({ minLength: 3, maxLength: 2 }),
      /minLength 3 is more than maxLength 2/,
    ],
    ['a pattern against a length', schema({ pattern: '^abc$', maxLength: 2 }), /Nothing can match/],
    ['a schema that is false', schema(false), /Nothing can match #/],
    [
      'a reference to nothing',
      schema({ $ref: '#/$defs/x' }),
      /\$ref is "#\/\$defs\/x", which the schema does not have/,
    ],
    ['a reference elsewhere', schema({ $ref: 'https://a.b/c' }), /references to places in the same schema/],
    [
      'a reference to itself',
      schema({ $defs: { a: { $ref: '#/$defs/a' } }, $ref: '#/$defs/a' }),
      /Nothing can match|left-recursive/,
    ],
    ['recursion before any text', schema({ anyOf: [{ type: 'null' }, { $ref: '#' }] }), /left-recursive/],
    [
      'recursion that never ends',
      schema({ properties: { a: { $ref: '#' } }, required: ['a'] }),
      /never ends/,
    ],
    [
      'a required property that cannot be',
      schema({ properties: {}, required: ['a'], additionalProperties: false }),
      /"a" is required/,
    ],
    ['a negative length', schema({ minLength: -1 }), /minLength is -1; it must be an integer/],
    [
      'a pattern that is no regular expression',
      schema({ properties: { a: { pattern: '(' } } }),
      /#\/properties\/a, pattern: .*"\(" without "\)"/,
    ],
    ['lookahead', { type: 'regex', pattern: '(?=a)b' }, /lookaround or flags.*near character/],
    ['a backreference', { type: 'regex', pattern: '(a)\\1' }, /backreference/],
    ['an anchor inside', { type: 'regex', pattern: 'a(^b)' }, /anchors are possible only at its ends/],
    ['a range out of order', { type: 'regex', pattern: '[z-a]' }, /out of order/],
    ['a class without its end', { type: 'regex', pattern: '[a' }, /"\[" without "\]"/],
    ['an unknown property', { type: 'regex', pattern: '\\p{Nope}' }, /\\p\{Nope\}/],
    ['a pattern that is no string', { type: 'regex', pattern: 7 }, /must be a string/],
    ['an empty class', { type: 'regex', pattern: 'a[]' }, /Nothing can match/],
    ['a grammar without root', { type: 'grammar', grammar: 'a ::= "b"' }, /no rule named root/],
    [
      'an undefined rule',
      { type: 'grammar', grammar: 'root ::= "a"\n  b' },
      /line 2: the rule b is used and nowhere defined/,
    ],
    [
      'a rule defined twice',
      { type: 'grammar', grammar: 'root ::= "a"\nroot ::= "b"' },
      /line 2: the rule root is defined twice/,
    ],
    [
      'left recursion',
      { type: 'grammar', grammar: 'root ::= root "a" | "b"' },
      /root is left-recursive.*\(root -> root\)/,
    ],
    [
      'left recursion through others',
      { type: 'grammar', grammar: 'root ::= x root "a" | "b"\nx ::= "c"?' },
      /left-recursive/,
    ],
    ['a rule that never ends', { type: 'grammar', grammar: 'root ::= "a" root' }, /Nothing can match root/],
    ['text without its quote', { type: 'grammar', grammar: 'root ::= "a\n' }, /line 1: " was expected/],
    ['a stray sign', { type: 'grammar', grammar: 'root ::= "a" )' }, /line 1: a rule was expected/],
  ])('%s', (_, format, message) => {
    expect(messageOf(() => compile(format))).toMatch(message);
  });

  test('what JSON Schema says to ignore is ignored unless strict', () => {
    const loose = compile(schema({ type: 'string', format: 'color', 'x-order': 1, title: 'a' }));
    expect(refusal(loose, smallKit(), '"red"')).toBeUndefined();
  });
});

describe('hostile input', PATIENT, () => {
  const nest = (depth: number) => {
    let value: unknown = { type: 'null' };
    for (let i = 0; i < depth; i++) value = { type: 'array', items: value };
    return value;
  };
  /** Doubles with every level if shared parts are not. */
  const doubling = Object.fromEntries(
    Array.from({ length: 60 }, (_, i) => [
      `d${i}`,
      i === 59
        ? { type: 'null' }
        : { anyOf: [{ $ref: `#/$defs/d${i + 1}` }, { type: 'array', items: { $ref: `#/$defs/d${i + 1}` } }] },
    ]),
  );

  test.each([
    ['nesting of 99 levels', schema(nest(99))],
    ['nesting of 5,000 levels', schema(nest(5_000))],
    [
      'an enum of 10,000 words',
      schema({ enum: Array.from({ length: 10_000 }, (_, i) => `word ${i * 7919}`) }),
    ],
    [
      'an enum of a million letters',
      schema({ enum: Array.from({ length: 1_000 }, (_, i) => `${i}${'x'.repeat(1_000)}`) }),
    ],
    [
      '1,000 optional properties',
      schema({ properties: Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`p${i}`, {}])) }),
    ],
    ['references that double', schema({ $defs: doubling, $ref: '#/$defs/d0' })],
    ['a reference to itself with more', schema({ $ref: '#', maxLength: 3 })],
    ['a million characters', schema({ type: 'string', maxLength: 1_000_000 })],
    ['a long pattern with a length', schema({ pattern: '(abc|d.)*x', maxLength: 2_000 })],
    ['repeats inside repeats', { type: 'regex', pattern: '((a*)*)*b' }],
    ['what makes backtracking explode', { type: 'regex', pattern: '(a|aa)+$' }],
    ['what makes determinizing explode', { type: 'regex', pattern: '(.|\\n)*a(.|\\n){500}' }],
    ['counts inside counts', { type: 'regex', pattern: '((.{0,200}x){0,200}y){0,200}' }],
    ['counts side by side', { type: 'regex', pattern: '.{0,900}.{0,900}.{0,900}z' }],
    ['empty turns', { type: 'regex', pattern: '(a?){0,100000}' }],
    ['copies of copies', { type: 'regex', pattern: '((((((((a{4}){4}){4}){4}){4}){4}){4}){4}){4}' }],
    ['10,000 groups', { type: 'regex', pattern: '('.repeat(10_000) + ')'.repeat(10_000) }],
    ['large classes many times', { type: 'regex', pattern: '\\p{L}\\p{Lu}\\p{Ll}'.repeat(60) }],
    [
      'an ambiguous grammar',
      { type: 'grammar', grammar: 'root ::= a a a a a a "."\na ::= "x" a "x" | "x" a "y" | [x-y]*' },
    ],
    [
      'a chain of 900 rules',
      {
        type: 'grammar',
        grammar: `root ::= r0\n${Array.from({ length: 900 }, (_, i) => `r${i} ::= r${i + 1} | "a" r${i + 1}`).join('\n')}\nr900 ::= "z"`,
      },
    ],
    [
      '10,000 rules',
      {
        type: 'grammar',
        grammar: `root ::= "a"\n${Array.from({ length: 10_000 }, (_, i) => `r${i} ::= "b"`).join('\n')}`,
      },
    ],
  ])('%s: an answer or an error, before the test runner gives up', (_, format) => {
    for (const kit of [smallKit(), largeKit()]) {
      try {
        const constraint = compileConstraint(format as ResponseFormat, kit.vocabulary);
        for (let i = 0; i < 30; i++) {
          const mask = constraint.mask();
          const token = [...'xa"[{n0', '\n', 'e']
            .map((char) => kit.tokenizer.tokenToId(char) ?? -1)
            .find((id) => id >= 0 && ((mask[id >>> 5]! >>> (id & 31)) & 1) === 1);
          if (token === undefined) break;
          constraint.accept(token);
        }
      } catch (error) {
        expect(error).toBeInstanceOf(InvalidInputError);
      }
    }
  });
});
