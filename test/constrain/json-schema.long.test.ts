/** @file What a JSON schema allows and what it forbids, judged by JSON.parse and a JSON Schema validator. */

import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileConstraint, type ResponseFormat } from '../../src/constrain/index.ts';
import { seededRandom } from '../seeded-random.ts';
import { PATIENT } from '../tokenizer/tokenizers.ts';
import { anySchema, SCHEMAS, spaced } from './any-schema.ts';
import { type Kit, largeKit, randomText, refusal, smallKit } from './vocabularies.ts';

const ajv = new Ajv2020({ strict: false });
addFormats.default(ajv);

const format = (schema: unknown): ResponseFormat => ({
  type: 'json_schema',
  json_schema: { schema, strict: true },
});
const styles: readonly ((value: unknown) => string)[] = [
  (value) => JSON.stringify(value),
  (value) => JSON.stringify(value, null, 2),
  (value) => JSON.stringify(value, null, '\t'),
  spaced,
];

/** Throws with the document where one is refused. */
function takes(kit: Kit, schema: unknown, value: unknown): void {
  for (const style of styles) {
    const text = style(value);
    const why = refusal(compileConstraint(format(schema), kit.vocabulary), kit, text);
    if (why !== undefined) throw new Error(`${text} is refused ${why}`);
  }
}

/** Throws where a random text is not what the schema asks for. */
function gives(kit: Kit, schema: unknown, seed: number, patience: number): void {
  const text = randomText(
    compileConstraint(format(schema), kit.vocabulary),
    kit,
    seededRandom(seed),
    patience,
  );
  const validate = ajv.compile(schema as object);
  if (!validate(JSON.parse(text))) throw new Error(`${text}: ${ajv.errorsText(validate.errors)}`);
}

describe('random schemas', PATIENT, () => {
  const cases = anySchema().chain(({ schema, values }) => fc.tuple(fc.constant(schema), values));

  test('every valid document is taken token by token, in the usual spacings (1,024 tokens)', () => {
    fc.assert(
      fc.property(cases, ([schema, value]) => takes(smallKit(), schema, value)),
      { numRuns: 40 },
    );
  });

  test('every valid document is taken token by token, in the usual spacings (151,936 tokens)', () => {
    fc.assert(
      fc.property(cases, ([schema, value]) => takes(largeKit(), schema, value)),
      { numRuns: 4 },
    );
  });

  test('whatever is drawn from the masks validates (1,024 tokens)', () => {
    fc.assert(
      fc.property(anySchema(), fc.integer(), fc.nat(80), ({ schema }, seed, patience) =>
        gives(smallKit(), schema, seed, patience),
      ),
      { numRuns: 40 },
    );
  });

  test('whatever is drawn from the masks validates (151,936 tokens)', () => {
    fc.assert(
      fc.property(anySchema(), fc.integer(), fc.nat(40), ({ schema }, seed, patience) =>
        gives(largeKit(), schema, seed, patience),
      ),
      { numRuns: 4 },
    );
  });
});

describe('schemas of apps', PATIENT, () => {
  for (const [name, schema] of Object.entries(SCHEMAS)) {
    test(`${name}: whatever is drawn from the masks validates`, () => {
      for (let seed = 0; seed < 8; seed++) gives(smallKit(), schema, seed, 40 + seed);
      for (let seed = 0; seed < 1; seed++) gives(largeKit(), schema, seed, 40);
    });
  }

  test('any JSON object, and nothing else, for json_object', () => {
    const kit = smallKit();
    const begin = () => compileConstraint({ type: 'json_object' }, kit.vocabulary);
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 4 })), (value) => {
        const text = JSON.stringify(value).replace(/\\ud[89a-f][0-9a-f]{2}/g, 'x');
        return refusal(begin(), kit, text) === undefined;
      }),
    );
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const value = JSON.parse(randomText(begin(), kit, seededRandom(seed)));
        return typeof value === 'object' && value !== null && !Array.isArray(value);
      }),
    );
    for (const text of [
      '[]',
      '1',
      '{"a":01}',
      '{"a" 1}',
      '{a:1}',
      '{"a":1,}',
      ' {}',
      '{}{}',
      '{"a":"\n"}',
      '{"a":.5}',
    ]) {
      expect(refusal(begin(), kit, text), text).toBeDefined();
    }
  });
});

describe('keywords', () => {
  const kit = smallKit();
  const check = (schema: unknown, text: string) =>
    refusal(compileConstraint(format(schema), kit.vocabulary), kit, text) === undefined;

  test.each([
    [{ type: 'integer', minimum: -5, maximum: 12 }, -30, 30, 1],
    [{ type: 'integer', exclusiveMinimum: 98, exclusiveMaximum: 1002 }, 90, 1010, 1],
    [{ type: 'integer', minimum: 3.2 }, 0, 120, 1],
    [{ type: 'integer', maximum: -3 }, -120, 3, 1],
    [{ type: 'integer', multipleOf: 7, maximum: 60 }, -80, 80, 1],
    [{ type: 'number', minimum: -0.5, maximum: 1.25 }, -1, 2, 100],
    [{ type: 'number', exclusiveMinimum: 9.9, exclusiveMaximum: 10.1 }, 9, 11, 100],
    [{ type: 'number', exclusiveMinimum: 0 }, -1, 1, 100],
    [{ type: 'number', exclusiveMaximum: -0.07 }, -1, 1, 100],
  ])('%j allows just what a validator allows', (schema, from, to, scale) => {
    const validate = ajv.compile(schema);
    for (let i = from * scale; i <= to * scale; i++) {
      const value = i / scale;
      expect(check(schema, JSON.stringify(value)), String(value)).toBe(validate(value));
    }
  });

  test.each([
    [
      'a limit that only infinitely many digits would reach',
      { type: 'number', exclusiveMinimum: 5 },
      '5.00000000000000000001',
      false,
    ],
    ['a number that would be infinity', { type: 'number' }, '1e400', false],
    [
      'an excluded limit beyond exact integers',
      { type: 'integer', exclusiveMinimum: 1e17 },
      '100000000000000001',
      false,
    ],
    ['leap days', { type: 'string', format: 'date' }, '"2024-02-29"', true],
    ['leap days in other years', { type: 'string', format: 'date' }, '"2023-02-29"', false],
    ['a surrogate pair as one character', { type: 'string', maxLength: 1 }, '"\\ud83d\\ude00"', true],
    ['half a surrogate pair', { type: 'string' }, '"\\ud83d"', false],
    ['characters beyond the length', { type: 'string', maxLength: 3 }, '"abcd"', false],
    ['characters short of the length', { type: 'string', minLength: 3 }, '"ab"', false],
    ['a pattern anywhere in the text', { type: 'string', pattern: 'b+' }, '"abbc"', true],
    ['a pattern at the ends only', { type: 'string', pattern: '^b+$' }, '"abbc"', false],
    ['pattern and length at once', { type: 'string', pattern: '^(ab)*$', maxLength: 5 }, '"abab"', true],
    ['pattern against length', { type: 'string', pattern: '^(ab)*$', maxLength: 3 }, '"abab"', false],
    [
      'a listed name among the further ones',
      { properties: { ab: { type: 'null' } }, additionalProperties: { type: 'integer' } },
      '{"ab":1}',
      false,
    ],
    [
      'a name that begins like a listed one',
      { properties: { ab: { type: 'null' } }, additionalProperties: { type: 'integer' } },
      '{"abc":1,"a":2}',
      true,
    ],
    [
      'a listed name in other spelling',
      { properties: { ab: { type: 'null' } }, additionalProperties: true },
      '{"a\\u0062":1}',
      false,
    ],
    [
      'properties beside anyOf',
      { properties: { a: { type: 'null' } }, additionalProperties: false, anyOf: [{ required: ['a'] }] },
      '{}',
      false,
    ],
    [
      'allOf with a reference',
      { $defs: { s: { type: 'string' } }, allOf: [{ $ref: '#/$defs/s' }, { maxLength: 1 }] },
      '"ab"',
      false,
    ],
    [
      'a reference with limits of its own',
      { $defs: { s: { type: 'string' } }, $ref: '#/$defs/s', maxLength: 2 },
      '"ab"',
      true,
    ],
    [
      'more items than allowed',
      { type: 'array', items: { type: 'null' }, maxItems: 2 },
      '[null,null,null]',
      false,
    ],
    [
      'items in their number',
      { type: 'array', items: { type: 'null' }, minItems: 9, maxItems: 9 },
      `[${Array(9).fill('null')}]`,
      true,
    ],
    ['an empty array for impossible items', { type: 'array', items: false }, '[]', true],
    ['endless white space', { type: 'array' }, `[${' '.repeat(20)}]`, false],
  ])('%s', (_, schema, text, isTaken) => {
    expect(check(schema, text)).toBe(isTaken);
  });
});
