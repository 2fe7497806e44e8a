/** @file The `tojson` filter of transformers: Python's json.dumps, by default with ensure_ascii=False and keys in order. */
import { compareText, reprFloat } from './text.ts';
import { type Key, type Runtime, str, Tuple, textOf, typeError, typeName, type Value } from './values.ts';

export interface JsonOptions {
  readonly isAscii: boolean;
  /** Text of one level of indentation, null for one line. */
  readonly indent: string | null;
  readonly separators: readonly [item: string, key: string];
  readonly isSorted: boolean;
}

/** `json.dumps(value)`. Throws JinjaError `type` for what JSON cannot hold (undefined, functions, views). */
export function toJson(value: Value, options: JsonOptions, runtime: Runtime): string {
  return write(value, options, runtime, '\n');
}

function write(value: Value, options: JsonOptions, runtime: Runtime, newline: string): string {
  runtime.charge(1);
  const text = textOf(value);
  if (text !== null) {
    runtime.charge(text.length >> 2);
    return quote(text, options.isAscii);
  }
  if (value === null) return 'null';
  if (typeof value === 'boolean' || typeof value === 'bigint') return String(value);
  if (typeof value === 'number') return writeFloat(value);
  const inner = newline + (options.indent ?? '');
  const wrap = (open: string, items: string[], close: string) => {
    if (items.length === 0) return open + close;
    const [before, after] = options.indent === null ? ['', ''] : [inner, newline];
    const separator = options.separators[0] + before;
    runtime.allocate(items.reduce((sum, item) => sum + item.length + separator.length, 0));
    return open + before + items.join(separator) + after + close;
  };
  const items = value instanceof Tuple ? value.items : Array.isArray(value) ? value : null;
  if (items)
    return wrap(
      '[',
      items.map((item) => write(item, options, runtime, inner)),
      ']',
    );
  if (!(value instanceof Map)) return typeError(`Object of type ${typeName(value)} is not JSON serializable`);
  const entries: [string, Value][] = Array.from(value, ([key, item]) => [writeKey(key, runtime), item]);
  if (options.isSorted) entries.sort(([a], [b]) => compareText(a, b));
  const pairs = entries.map(
    ([key, item]) =>
      quote(key, options.isAscii) + options.separators[1] + write(item, options, runtime, inner),
  );
  return wrap('{', pairs, '}');
}

function writeKey(key: Key, runtime: Runtime): string {
  if (key === null || typeof key === 'boolean') return String(key);
  return typeof key === 'number' ? writeFloat(key) : str(key, runtime);
}

function writeFloat(x: number): string {
  if (Number.isFinite(x)) return reprFloat(x);
  return Number.isNaN(x) ? 'NaN' : x > 0 ? 'Infinity' : '-Infinity';
}

const SHORT: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\b': '\\b', '\f': '\\f' };

/** Lone surrogates stay as they are, unlike in JSON.stringify. */
function quote(text: string, isAscii: boolean): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what JSON escapes
  const special = isAscii ? /["\\]|[^ -~]/g : /["\\\0-\x1f]/g;
  const escaped = text.replace(special, (unit) => {
    if (unit === '"' || unit === '\\') return `\\${unit}`;
    return SHORT[unit] ?? `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
  return `"${escaped}"`;
}
