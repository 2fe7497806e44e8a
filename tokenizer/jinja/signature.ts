/** @file Functions with a Python-like signature: arguments bound by position or name; wrong ones are refused by name. */
import {
  type Kwargs,
  numberOf,
  type Runtime,
  str,
  sweepCost,
  textOf,
  typeError,
  typeName,
  type Value,
} from './values.ts';

/** An argument that may be missing. None is `null`, which is not missing. */
export type Param = Value | undefined;

/** A filter, test or method of a `Self`. */
export type Method<Self> = (runtime: Runtime, self: Self, args: readonly Value[], kwargs: Kwargs) => Value;

/**
 * `'old new count?'` and a function of (runtime, self, old, new, count). `?` marks a parameter that may be missing:
 * the function must declare it as `Param`.
 */
export type Entry<Self> = readonly [
  signature: string,
  run: (runtime: Runtime, self: Self, ...params: Value[]) => Value,
];

/** A table of functions by name, from signatures or from functions that read their arguments themselves. */
export function methodTable<Self>(
  entries: Readonly<Record<string, Entry<Self> | Method<Self>>>,
): ReadonlyMap<string, Method<Self>> {
  return new Map(
    Object.entries(entries).map(([name, entry]) => [
      name,
      typeof entry === 'function' ? entry : bind(name, ...entry),
    ]),
  );
}

function bind<Self>(name: string, signature: string, run: Entry<Self>[1]): Method<Self> {
  const params = signature.split(' ').filter(Boolean);
  const names = params.map((param) => param.replace('?', ''));
  const numRequired = params.filter((param) => !param.endsWith('?')).length;
  return (runtime, self, args, kwargs) => {
    if (args.length > params.length) {
      return typeError(`${name}() takes at most ${params.length} arguments (${args.length} given)`);
    }
    for (const key of kwargs.keys()) {
      if (!names.includes(key)) return typeError(`${name}() got an unexpected keyword argument '${key}'`);
    }
    const bound = names.map((key, i) => (i < args.length ? args[i] : kwargs.get(key)));
    const missing = bound.indexOf(undefined);
    if (missing >= 0 && missing < numRequired)
      return typeError(`${name}() needs the argument '${names[missing]}'`);
    return run(runtime, self, ...(bound as Value[]));
  };
}

/** A text argument; `fallback` when it is missing, an error for other types. */
export function textParam(value: Param, fallback?: string): string {
  if (value === undefined && fallback !== undefined) return fallback;
  return textOf(value) ?? typeError(`expected a str, got '${typeName(value ?? null)}'`);
}

/** An int argument as a number; `fallback` when it is missing, an error for other types. */
export function intParam(value: Param, fallback?: number): number {
  if (value === undefined && fallback !== undefined) return fallback;
  const number = numberOf(value);
  if (typeof number !== 'bigint') return typeError(`expected an int, got '${typeName(value ?? null)}'`);
  return Math.max(Math.min(Number(number), Number.MAX_SAFE_INTEGER), Number.MIN_SAFE_INTEGER);
}

/** Any value as the text it prints; its length counts as work. */
export function printed(value: Value, runtime: Runtime): string {
  const text = str(value, runtime);
  runtime.charge(sweepCost(text.length));
  return text;
}
