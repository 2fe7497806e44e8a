/**
 * @file Reads single keywords of a JSON Schema: which there are, what type their values must have, references, and two
 * schemas at once as one. Knows nothing of expressions.
 */
import { InvalidInputError } from '../errors.ts';

export type Schema = Readonly<Record<string, unknown>>;

const ANNOTATIONS = new Set([
  ...['$schema', '$id', '$anchor', '$comment', '$defs', 'definitions', 'title', 'description', 'default'],
  ...['example', 'examples', 'deprecated', 'readOnly', 'writeOnly', 'contentEncoding', 'contentMediaType'],
]);

/** The keywords that are about values of each type. */
export const KEYWORDS_OF_TYPE = {
  object: ['properties', 'required', 'additionalProperties'],
  array: ['items', 'minItems', 'maxItems'],
  string: ['pattern', 'minLength', 'maxLength', 'format'],
  number: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'],
} as const;

const SUPPORTED = new Set<string>([
  ...['type', 'enum', 'const', 'anyOf', 'allOf', '$ref'],
  ...Object.values(KEYWORDS_OF_TYPE).flat(),
]);

/** Keywords that forbid values in ways that are not enforced here: ignoring them would let wrong answers through. */
const UNSUPPORTED = new Set([
  ...[
    'not',
    'oneOf',
    'if',
    'then',
    'else',
    'dependentRequired',
    'dependentSchemas',
    'dependencies',
    '$dynamicRef',
  ],
  ...['patternProperties', 'propertyNames', 'minProperties', 'maxProperties', 'unevaluatedProperties'],
  ...[
    'prefixItems',
    'additionalItems',
    'uniqueItems',
    'contains',
    'minContains',
    'maxContains',
    'unevaluatedItems',
  ],
]);
const ADVICE: Readonly<Record<string, string>> = {
  oneOf: 'Use anyOf.',
  prefixItems: 'Use an object with a property for each item.',
};

export const isObject = (value: unknown): value is Schema =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export function fail(path: string, what: string): never {
  throw new InvalidInputError(`The JSON schema at ${path}: ${what}`);
}

/** A short form of a value for error messages. */
export function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** The keywords that constrain values. @throws InvalidInputError for those that cannot be enforced */
export function constraintsOf(schema: Schema, path: string, isStrict: boolean): Schema {
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(schema)) {
    if (SUPPORTED.has(key)) out[key] = value;
    else if (UNSUPPORTED.has(key)) {
      if (key === 'uniqueItems' && value === false) continue;
      fail(
        path,
        `the keyword ${key} cannot be enforced. ${ADVICE[key] ?? 'Leave it out, or describe it in the prompt.'}`,
      );
    } else if (isStrict && !ANNOTATIONS.has(key)) {
      fail(path, `the keyword ${key} is unknown. Leave it out, or set strict to false, which ignores it.`);
    }
  }
  return out;
}

/** One schema that means both. */
export function merge(a: Schema, b: Schema, path: string): Schema {
  const out: Record<string, unknown> = { ...a };
  for (const [key, value] of Object.entries(b)) {
    if (ANNOTATIONS.has(key)) continue;
    if (key === 'required' && Array.isArray(out[key]) && Array.isArray(value)) {
      out[key] = [...new Set([...out[key], ...value])];
    } else if (key === 'properties' && isObject(out[key]) && isObject(value)) {
      const twice = Object.keys(value).find((name) => Object.hasOwn(out[key] as Schema, name));
      if (twice !== undefined)
        fail(path, `the property ${show(twice)} is given twice, which cannot be combined. Give it once.`);
      out[key] = { ...out[key], ...value };
    } else if (Object.hasOwn(out, key) && JSON.stringify(out[key]) !== JSON.stringify(value)) {
      fail(
        path,
        `${key} is given twice, ${show(out[key])} and ${show(value)}, which cannot be combined. Write one schema that says both.`,
      );
    } else {
      out[key] = value;
    }
  }
  const closes = (schema: Schema) => Object.hasOwn(schema, 'additionalProperties');
  const opens = (schema: Schema) => Object.hasOwn(schema, 'properties');
  if ((closes(a) && opens(b)) || (closes(b) && opens(a))) {
    fail(
      path,
      'additionalProperties and properties come from different schemas, which cannot be combined. Write them in one.',
    );
  }
  return out;
}

/** The schema that a `$ref` names. */
export function resolveReference(root: unknown, reference: unknown, path: string): unknown {
  if (typeof reference !== 'string' || !/^#(\/|$)/.test(reference)) {
    fail(
      path,
      `$ref is ${show(reference)}; references to places in the same schema are possible, such as "#/$defs/name".`,
    );
  }
  let target = root;
  for (const part of reference.split('/').slice(1)) {
    const key = safeDecode(part).replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof target !== 'object' || target === null || !Object.hasOwn(target, key)) {
      fail(
        path,
        `$ref is ${show(reference)}, which the schema does not have. Add it, or correct the reference.`,
      );
    }
    target = (target as Record<string, unknown>)[key];
  }
  return target;
}

function safeDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** A keyword that counts something. */
export function readCount(schema: Schema, key: string, path: string, ifAbsent: number): number {
  const value = schema[key];
  if (value === undefined) return ifAbsent;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0) {
    fail(path, `${key} is ${show(value)}; it must be an integer from 0 on.`);
  }
  return value;
}

/** A keyword whose value is a number. */
export function readNumber(schema: Schema, key: string, path: string): number | undefined {
  const value = schema[key];
  if (value !== undefined && (typeof value !== 'number' || !Number.isFinite(value))) {
    fail(path, `${key} is ${show(value)}; it must be a number.`);
  }
  return value;
}

/** A keyword whose value is a non-empty list. */
export function readList(schema: Schema, key: string, path: string): readonly unknown[] {
  const value = schema[key];
  if (!Array.isArray(value) || value.length === 0) {
    fail(path, `${key} is ${show(value)}; it must be a list of at least one.`);
  }
  return value;
}
