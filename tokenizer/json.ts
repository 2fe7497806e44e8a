/**
 * @file Readers for untrusted parsed JSON. Every reader takes the path of the field (`where`) and throws a TokenizerError
 * that says what was found there and what is supported. Knows nothing of what the fields mean.
 */
import { TokenizerError } from './errors.ts';

export type JsonObject = { readonly [key: string]: unknown };

/** Any value in a few words, safe for error messages. */
export function describe(value: unknown): string {
  if (typeof value === 'string') {
    return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  }
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value === 'function' || typeof value === 'symbol') return `a ${typeof value}`;
  return String(value);
}

/** The error for a field that holds something not supported. */
export function unsupported(where: string, found: unknown, supported: string): TokenizerError {
  return new TokenizerError(`${where} is ${describe(found)}; supported: ${supported}`);
}

export function readObject(value: unknown, where: string): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw unsupported(where, value, 'an object');
  }
  return value as JsonObject;
}

export function readArray(value: unknown, where: string): readonly unknown[] {
  if (!Array.isArray(value)) throw unsupported(where, value, 'an array');
  return value;
}

export function readString(value: unknown, where: string): string {
  if (typeof value !== 'string') throw unsupported(where, value, 'a string');
  return value;
}

/** A boolean; null or absent gives `fallback`. */
export function readBoolean(value: unknown, where: string, fallback: boolean): boolean {
  if (value === undefined || value === null) return fallback;
  if (typeof value !== 'boolean') throw unsupported(where, value, 'true or false');
  return value;
}

/** Token ids index typed arrays, so an absurd id in a hostile file must not make them huge. */
const MAX_ID = 2 ** 22 - 1;

export const isId = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MAX_ID;

export function readId(value: unknown, where: string): number {
  if (!isId(value)) throw unsupported(where, value, `an integer from 0 to ${MAX_ID}`);
  return value;
}

/** Throws for a key that is not in `known`, because an unknown option may change the ids. Nulls are ignored. */
export function rejectUnknownKeys(object: JsonObject, where: string, known: readonly string[]): void {
  for (const key of Object.keys(object)) {
    if (known.includes(key) || object[key] === null) continue;
    throw new TokenizerError(
      `${where} has the key ${describe(key)} (${describe(object[key])}), which is not understood; supported: ${known.join(', ')}`,
    );
  }
}

export interface Step {
  readonly step: JsonObject;
  /** Its path. */
  readonly where: string;
  readonly type: string;
}

/**
 * A normalizer, pre-tokenizer, decoder or post-processor as a list of its steps with their paths: nothing for null, the
 * entries of `listKey` for a Sequence (which may not be nested), else the component itself.
 */
export function readSteps(component: unknown, where: string, listKey: string): Step[] {
  if (component === null || component === undefined) return [];
  const object = readObject(component, where);
  if (object.type !== 'Sequence') {
    return [{ step: object, where, type: readString(object.type, `${where}.type`) }];
  }
  rejectUnknownKeys(object, where, ['type', listKey]);
  return readArray(object[listKey], `${where}.${listKey}`).map((entry, i) => {
    const stepWhere = `${where}.${listKey}[${i}]`;
    const step = readObject(entry, stepWhere);
    return { step, where: stepWhere, type: readString(step.type, `${stepWhere}.type`) };
  });
}

const MODEL_KEYS = [
  'type',
  'vocab',
  'merges',
  'dropout',
  'unk_token',
  'continuing_subword_prefix',
  'end_of_word_suffix',
  'fuse_unk',
  'byte_fallback',
  'ignore_merges',
];

/** The `model` section of tokenizer.json if it is BPE without options that would change the ids and are not implemented. */
export function readModel(model: unknown, moreKeys: readonly string[] = []): JsonObject {
  const json = readObject(model, 'model');
  if (json.type !== 'BPE') throw unsupported('model.type', json.type, '"BPE"');
  rejectUnknownKeys(json, 'model', [...MODEL_KEYS, ...moreKeys]);
  for (const key of ['continuing_subword_prefix', 'end_of_word_suffix']) {
    if ((json[key] ?? '') !== '') throw unsupported(`model.${key}`, json[key], 'null or ""');
  }
  if ((json.dropout ?? 0) !== 0) throw unsupported('model.dropout', json.dropout, 'null or 0');
  return json;
}
