/**
 * @file Reads fields of an unchecked request: each is what was wanted, absent, or an ApiError that names the field, what was found
 * and what was wanted. Knows no field by name.
 */
import { ApiError } from '../errors.ts';

export type Json = Readonly<Record<string, unknown>>;

/** Deeper than any schema that can be compiled, but not too deep for recursive functions. */
const MAX_DEPTH = 256;

export function isRecord(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A short form of a value for error messages. */
export function shown(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'function') {
    return String(value).slice(0, 80);
  }
  try {
    return String(JSON.stringify(value)).slice(0, 80);
  } catch {
    return `an ${Array.isArray(value) ? 'array' : 'object'} that cannot be written as JSON`;
  }
}

/** @throws ApiError 400 */
export function refuse(param: string | null, message: string, code: string | null = 'invalid_value'): never {
  throw new ApiError(400, message, { param, code });
}

export function wrong(param: string, found: unknown, wanted: string): never {
  refuse(param, `${param} is ${shown(found)}, wanted ${wanted}.`);
}

/** A value that `null` and `undefined` both leave out. */
function given(fields: Json, name: string): unknown {
  return fields[name] ?? undefined;
}

export interface Range {
  min: number;
  max: number;
  isInteger?: boolean;
}

export function numberField(
  fields: Json,
  name: string,
  { min, max, isInteger = false }: Range,
): number | undefined {
  const value = given(fields, name);
  if (value === undefined) return undefined;
  const isNumber = typeof value === 'number' && value >= min && value <= max;
  if (isNumber && (!isInteger || Number.isInteger(value))) return value;
  return wrong(name, value, `${isInteger ? 'an integer' : 'a number'} from ${min} to ${max}`);
}

export function booleanField(fields: Json, name: string): boolean | undefined {
  const value = given(fields, name);
  return value === undefined || typeof value === 'boolean' ? value : wrong(name, value, 'true or false');
}

export function textField(fields: Json, name: string, path = name): string | undefined {
  const value = given(fields, name);
  return value === undefined || typeof value === 'string' ? value : wrong(path, value, 'a string');
}

export function listField(
  fields: Json,
  name: string,
  wanted: string,
  path = name,
): readonly unknown[] | undefined {
  const value = given(fields, name);
  return value === undefined || Array.isArray(value) ? value : wrong(path, value, wanted);
}

export function recordField(fields: Json, name: string, path = name): Json | undefined {
  const value = given(fields, name);
  return value === undefined || isRecord(value) ? value : wrong(path, value, 'an object');
}

/**
 * A request must be something that JSON can write: no cycles, functions or the like, and not nested too deeply. Checked once here, so
 * that later code need not check it.
 */
export function checkPlain(body: Json): void {
  const walk = Object.entries(body).map(([name, value]) => ({ value, param: name, depth: 1 }));
  const known = new WeakSet<object>();
  for (let next = walk.pop(); next !== undefined; next = walk.pop()) {
    const { value, param, depth } = next;
    if (typeof value === 'function' || typeof value === 'symbol' || typeof value === 'bigint') {
      refuse(param, `${param} has a ${typeof value} in it, wanted what JSON can write.`);
    }
    if (typeof value !== 'object' || value === null) continue;
    if (depth > MAX_DEPTH) {
      refuse(param, `${param} is nested deeper than ${MAX_DEPTH} levels, or holds itself. Flatten it.`);
    }
    if (known.has(value)) continue;
    known.add(value);
    for (const inner of Object.values(value)) walk.push({ value: inner, param, depth: depth + 1 });
  }
}
