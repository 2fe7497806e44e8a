/** @file Random JSON schemas, each with its values, and some that people write. */
import fc from 'fast-check';
import { anyCharacter } from '../any-character.ts';

export interface SchemaCase {
  readonly schema: unknown;
  readonly values: fc.Arbitrary<unknown>;
}

/** Strings as users write them: no lone surrogates, which no tokenizer can write. */
const text = (constraints: fc.StringConstraints = {}) =>
  fc.oneof(
    fc.string({ ...constraints, unit: 'grapheme-ascii' }),
    fc.string({ ...constraints, unit: anyCharacter }),
    fc.string({
      ...constraints,
      unit: fc.constantFrom('"', '\\', '/', '\n', '\u0007', 'é', '中', '😀', ' ', 'a'),
    }),
  );
const names = fc.uniqueArray(
  fc.oneof(fc.constantFrom('name', 'age', 'a "b"', 'größe', '', 'x/y~z'), text({ maxLength: 6 })),
  {
    maxLength: 5,
  },
);

const strings: fc.Arbitrary<SchemaCase> = fc.oneof(
  fc.constant({ schema: { type: 'string' }, values: text({ maxLength: 30 }) }),
  fc.tuple(fc.nat(5), fc.nat(60)).map(([minLength, more]) => ({
    schema: { type: 'string', minLength, maxLength: minLength + more },
    values: fc
      .array(fc.constantFrom('"', '\\', '\n', 'é', '中', '😀', ' ', 'a', 'B'), {
        minLength,
        maxLength: minLength + more,
      })
      .map((chars) => chars.join('')),
  })),
  fc
    .constantFrom('^[a-z]{2,5}$', '^\\d+-\\d+$', 'a|b', '^(foo|"bar\\\\)*$', '^\\p{Lu}.?', '[^"]x$')
    .map((pattern) => ({
      schema: { type: 'string', pattern },
      values: fc.stringMatching(new RegExp(pattern, 'u')),
    })),
  fc.constant({
    schema: { type: 'string', pattern: '^[a-c]*d?$', minLength: 2, maxLength: 4 },
    values: fc.stringMatching(/^[a-c]{1,3}d$/),
  }),
  fc.constantFrom('date', 'date-time', 'uuid', 'ipv4', 'email', 'time').map((format) => ({
    schema: { type: 'string', format },
    values: {
      date: fc
        .date({ min: new Date('0001-01-01'), max: new Date('9999-01-01'), noInvalidDate: true })
        .map((date) => date.toISOString().slice(0, 10)),
      'date-time': fc
        .date({ min: new Date('0001-01-01'), max: new Date('9999-01-01'), noInvalidDate: true })
        .map((date) => date.toISOString()),
      time: fc
        .date({ min: new Date('0001-01-01'), max: new Date('9999-01-01'), noInvalidDate: true })
        .map((date) => date.toISOString().slice(11)),
      uuid: fc.uuid(),
      ipv4: fc.ipV4(),
      email: fc.stringMatching(/^[a-z0-9.]{1,8}$/).map((name) => `a${name.replaceAll('.', '')}@example.org`),
    }[format]!,
  })),
);

const thousandths = (min: number, max: number) =>
  fc.integer({ min: Math.ceil(min * 1000), max: Math.floor(max * 1000) }).map((value) => value / 1000);

const numbers: fc.Arbitrary<SchemaCase> = fc.oneof(
  fc.constant({ schema: { type: 'integer' }, values: fc.maxSafeInteger() }),
  fc.constant({
    schema: { type: 'number' },
    values: fc.oneof(
      fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => (value === 0 ? 0 : value)),
      fc.integer(),
    ),
  }),
  fc.tuple(fc.integer({ min: -2000, max: 2000 }), fc.nat(3000)).map(([minimum, size]) => ({
    schema: { type: 'integer', minimum, maximum: minimum + size },
    values: fc.integer({ min: minimum, max: minimum + size }),
  })),
  fc.tuple(fc.integer(), fc.integer({ min: 1, max: 40 })).map(([minimum, multipleOf]) => ({
    schema: { type: 'integer', exclusiveMinimum: minimum, multipleOf },
    values: fc.nat(1000).map((n) => (Math.floor(minimum / multipleOf) + 1 + n) * multipleOf),
  })),
  fc.tuple(thousandths(-50, 50), thousandths(0.01, 80)).map(([minimum, size]) => ({
    schema: { type: 'number', minimum, exclusiveMaximum: minimum + size },
    values: thousandths(minimum, minimum + size).filter(
      (value) => value >= minimum && value < minimum + size,
    ),
  })),
);

const constants: fc.Arbitrary<SchemaCase> = fc.oneof(
  fc.array(fc.jsonValue({ maxDepth: 2 }), { minLength: 1, maxLength: 6 }).map((values) => {
    const wellFormed = JSON.parse(JSON.stringify(values).replace(/\\ud[89a-f][0-9a-f]{2}/g, 'x'));
    return { schema: { enum: wellFormed }, values: fc.constantFrom(...(wellFormed as unknown[])) };
  }),
  fc
    .constantFrom({ const: 'fixed' }, { const: 7 }, { const: null })
    .map((schema) => ({ schema, values: fc.constant(schema.const) })),
  fc.constant({ schema: { type: 'boolean' }, values: fc.boolean() }),
  fc.constant({
    schema: { type: ['string', 'null'], maxLength: 3 },
    values: fc.constantFrom('', 'abc', null),
  }),
);

const anyJson = fc
  .jsonValue({ maxDepth: 3 })
  .map((value) => JSON.parse(JSON.stringify(value).replace(/\\ud[89a-f][0-9a-f]{2}/g, 'x')));

function objectCase(
  keys: readonly string[],
  parts: readonly SchemaCase[],
  isRequired: readonly boolean[],
  isOpen: boolean,
): SchemaCase {
  const properties = Object.fromEntries(keys.map((key, i) => [key, parts[i]!.schema]));
  const required = keys.filter((_, i) => isRequired[i]);
  const values = fc.tuple(
    fc.tuple(
      ...parts.map((part, i) => (isRequired[i] ? part.values : fc.option(part.values, { nil: undefined }))),
    ),
    isOpen
      ? fc.dictionary(fc.stringMatching(/^[a-zäß]{1,8}$/), fc.integer(), { maxKeys: 3 })
      : fc.constant({}),
  );
  // The order of properties is that of the schema; integer-like names come first in any object of JavaScript.
  const order = Object.keys(properties);
  return {
    schema: {
      type: 'object',
      properties,
      required,
      additionalProperties: isOpen ? { type: 'integer' } : false,
    },
    values: values.map(([listed, further]) => {
      const byName = new Map(keys.map((key, i) => [key, listed[i]]));
      const out: Record<string, unknown> = {};
      for (const key of order) {
        if (byName.get(key) !== undefined) out[key] = byName.get(key);
      }
      for (const [key, value] of Object.entries(further))
        if (!Object.hasOwn(properties, key)) out[key] = value;
      return out;
    }),
  };
}

export function anySchema(depth = 2): fc.Arbitrary<SchemaCase> {
  const leaf = fc.oneof(strings, numbers, constants, fc.constant({ schema: {}, values: anyJson }));
  if (depth === 0) return leaf;
  const inner = anySchema(depth - 1);
  return fc.oneof(
    { weight: 2, arbitrary: leaf },
    {
      weight: 3,
      arbitrary: names.chain((keys) =>
        fc
          .tuple(
            fc.array(inner, { minLength: keys.length, maxLength: keys.length }),
            fc.array(fc.boolean(), { minLength: keys.length, maxLength: keys.length }),
            fc.boolean(),
          )
          .map(([parts, isRequired, isOpen]) => objectCase(keys, parts, isRequired, isOpen)),
      ),
    },
    {
      weight: 2,
      arbitrary: fc
        .tuple(inner, fc.nat(2), fc.option(fc.nat(8), { nil: undefined }))
        .map(([item, minItems, more]) => ({
          schema: {
            type: 'array',
            items: item.schema,
            minItems,
            ...(more !== undefined && { maxItems: minItems + more }),
          },
          values: fc.array(item.values, { minLength: minItems, maxLength: minItems + (more ?? 6) }),
        })),
    },
    {
      weight: 1,
      arbitrary: fc.array(inner, { minLength: 1, maxLength: 3 }).map((cases) => ({
        schema: { anyOf: cases.map(({ schema }) => schema) },
        values: fc.oneof(...cases.map(({ values }) => values)),
      })),
    },
  );
}

/** Schemas as apps send them. */
export const SCHEMAS: Readonly<Record<string, unknown>> = {
  person: {
    type: 'object',
    properties: {
      name: { type: 'string' },
      age: { type: 'integer', minimum: 0, maximum: 150 },
      email: { type: 'string', format: 'email' },
      tags: { type: 'array', items: { type: 'string', maxLength: 20 }, maxItems: 5 },
    },
    required: ['name', 'age', 'email', 'tags'],
    additionalProperties: false,
  },
  steps: {
    $defs: {
      step: {
        type: 'object',
        properties: { explanation: { type: 'string' }, output: { type: 'string' } },
        required: ['explanation', 'output'],
        additionalProperties: false,
      },
    },
    type: 'object',
    properties: {
      steps: { type: 'array', items: { $ref: '#/$defs/step' } },
      final_answer: { type: 'string' },
    },
    required: ['steps', 'final_answer'],
    additionalProperties: false,
  },
  page: {
    type: 'object',
    properties: {
      type: { enum: ['div', 'button', 'header', 'section', 'field', 'form'] },
      label: { type: 'string' },
      children: { type: 'array', items: { $ref: '#' } },
      attributes: {
        type: 'array',
        items: {
          type: 'object',
          properties: { name: { type: 'string' }, value: { type: 'string' } },
          required: ['name', 'value'],
          additionalProperties: false,
        },
      },
    },
    required: ['type', 'label', 'children', 'attributes'],
    additionalProperties: false,
  },
  list: {
    $defs: {
      node: {
        type: 'object',
        properties: {
          value: { type: 'number' },
          next: { anyOf: [{ $ref: '#/$defs/node' }, { type: 'null' }] },
        },
        required: ['value', 'next'],
        additionalProperties: false,
      },
    },
    type: 'object',
    properties: { list: { $ref: '#/$defs/node' } },
    required: ['list'],
    additionalProperties: false,
  },
  order: {
    type: 'object',
    properties: {
      id: { type: 'string', format: 'uuid' },
      at: { type: 'string', format: 'date-time' },
      price: { type: 'number', minimum: 0, exclusiveMaximum: 10000 },
      currency: { type: 'string', pattern: '^[A-Z]{3}$' },
      item: {
        anyOf: [
          {
            type: 'object',
            properties: { kind: { const: 'book' }, isbn: { type: 'string', pattern: '^97[89]-\\d{10}$' } },
            required: ['kind', 'isbn'],
            additionalProperties: false,
          },
          {
            type: 'object',
            properties: {
              kind: { const: 'shirt' },
              size: { enum: ['S', 'M', 'L'] },
              color: { type: ['string', 'null'] },
            },
            required: ['kind', 'size'],
            additionalProperties: false,
          },
        ],
      },
      notes: { type: 'object', additionalProperties: { type: 'string', maxLength: 200 } },
    },
    required: ['id', 'at', 'price', 'currency', 'item'],
    additionalProperties: false,
  },
};

/** One space after colons and commas, as Python and many models write. */
export function spaced(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(spaced).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([key, item]) => `${JSON.stringify(key)}: ${spaced(item)}`)
    .join(', ')}}`;
}
