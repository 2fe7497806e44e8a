/** @file The arithmetic of templates (`+ - * / // % **`, unary signs) and subscripts and slices, as Python has them. */
import { JinjaError } from './error.ts';
import { percentFormat } from './format.ts';
import { codePoints } from './text.ts';
import {
  Markup,
  numberOf,
  type Runtime,
  str,
  sweepCost,
  Tuple,
  textOf,
  typeError,
  typeName,
  Undefined,
  type Value,
  View,
  valueError,
} from './values.ts';

/** Bits of the largest int; Python itself refuses to print much larger ones. */
const MAX_INT_BITS = 14_000;

export function binary(op: string, a: Value, b: Value, runtime: Runtime): Value {
  if (op === '+') {
    const sum = add(a, b, runtime);
    if (sum !== null) return sum;
  }
  const [x, y] = [numberOf(a), numberOf(b)];
  if (x !== null && y !== null) return arithmetic(op, x, y);
  const text = textOf(a);
  if (op === '%' && text !== null) return percentFormat(text, b, runtime);
  if (op === '*') {
    const product =
      typeof y === 'bigint' ? repeat(a, y, runtime) : typeof x === 'bigint' ? repeat(b, x, runtime) : null;
    if (product !== null) return product;
  }
  if (a instanceof Undefined) a.fail();
  if (b instanceof Undefined) b.fail();
  if (op === '+' && (text !== null || Array.isArray(a) || a instanceof Tuple)) {
    const type = text !== null ? 'str' : typeName(a);
    return typeError(`can only concatenate ${type} (not "${typeName(b)}") to ${type}`);
  }
  return typeError(`unsupported operand type(s) for ${op}: '${typeName(a)}' and '${typeName(b)}'`);
}

function add(a: Value, b: Value, runtime: Runtime): Value | null {
  if (Array.isArray(a) && Array.isArray(b)) {
    runtime.charge(a.length + b.length);
    return [...a, ...b];
  }
  if (a instanceof Tuple && b instanceof Tuple) {
    runtime.charge(a.items.length + b.items.length);
    return new Tuple([...a.items, ...b.items]);
  }
  const [s, t] = [textOf(a), textOf(b)];
  if (s === null || t === null) return null;
  runtime.allocate(s.length + t.length);
  if (typeof a === 'string' && typeof b === 'string') return s + t;
  return new Markup(escapeHtml(a, runtime).text + escapeHtml(b, runtime).text);
}

const ENTITIES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&#34;',
  "'": '&#39;',
};

/** The `escape` filter: markup stays as it is. */
export function escapeHtml(value: Value, runtime: Runtime): Markup {
  if (value instanceof Markup) return value;
  const text = str(value, runtime);
  runtime.allocate(5 * text.length);
  return new Markup(text.replace(/[&<>"']/g, (char) => ENTITIES[char] as string));
}

function repeat(value: Value, count: bigint, runtime: Runtime): Value | null {
  const times = count < 0n ? 0 : Math.min(Number(count), Number.MAX_SAFE_INTEGER);
  const text = textOf(value);
  if (text !== null) {
    runtime.allocate(text.length * times);
    return text === '' ? '' : text.repeat(times);
  }
  const items = value instanceof Tuple ? value.items : Array.isArray(value) ? value : null;
  if (!items) return null;
  runtime.charge(items.length * times);
  const repeated = items.length === 0 ? [] : Array.from({ length: times }, () => items).flat(1);
  return value instanceof Tuple ? new Tuple(repeated) : repeated;
}

function numBits(x: bigint): number {
  return Number.isSafeInteger(Number(x)) ? 53 : 4 * x.toString(16).length;
}

function checkBits(bits: number): void {
  if (bits > MAX_INT_BITS) throw new JinjaError('limit', `an int of more than ${MAX_INT_BITS} bits`);
}

function arithmetic(op: string, x: bigint | number, y: bigint | number): Value {
  const isInt = typeof x === 'bigint' && typeof y === 'bigint';
  if (op === '**') return power(x, y);
  if ((op === '/' || op === '//' || op === '%') && Number(y) === 0) return valueError('division by zero');
  if (!isInt || op === '/') return floatArithmetic(op, Number(x), Number(y));
  if (op === '*') checkBits(numBits(x) + numBits(y));
  if (op === '+') return x + y;
  if (op === '-') return x - y;
  if (op === '*') return x * y;
  const remainder = ((x % y) + y) % y;
  return op === '%' ? remainder : (x - remainder) / y;
}

function floatArithmetic(op: string, x: number, y: number): number {
  if (op === '+') return x + y;
  if (op === '-') return x - y;
  if (op === '*') return x * y;
  if (op === '/') return x / y;
  if (op === '//') return Math.floor(x / y);
  const remainder = x % y;
  return remainder !== 0 && remainder < 0 !== y < 0 ? remainder + y : remainder;
}

function power(x: bigint | number, y: bigint | number): Value {
  if (typeof x !== 'bigint' || typeof y !== 'bigint' || y < 0n) {
    if (Number(x) === 0 && Number(y) < 0) return valueError('0.0 cannot be raised to a negative power');
    return Number(x) ** Number(y);
  }
  // numBits rounds small numbers up to 53; here the exponent multiplies, so count exactly.
  if (x < -1n || x > 1n) checkBits(x.toString(2).replace('-', '').length * Number(y));
  return x < -1n || x > 1n ? x ** y : x === -1n && y % 2n === 0n ? 1n : y === 0n ? 1n : x;
}

export function unary(op: '-' | '+', value: Value): Value {
  if (value instanceof Undefined) value.fail();
  const x = numberOf(value);
  if (x === null) return typeError(`bad operand type for unary ${op}: '${typeName(value)}'`);
  return op === '-' ? -x : x;
}

/** `object[index]` for an int index into text, list, tuple or range; undefined when there is none. */
export function itemAt(object: Value, index: bigint, runtime: Runtime): Value | undefined {
  const text = textOf(object);
  if (text !== null) runtime.charge(sweepCost(text.length));
  return sequenceOf(object)?.at(Number(BigInt.asIntN(53, index) === index ? index : 2n ** 53n));
}

function sequenceOf(value: Value): Value[] | null {
  const text = textOf(value);
  if (text !== null) return codePoints(text);
  if (Array.isArray(value)) return value;
  if (value instanceof Tuple) return value.items;
  return value instanceof View && value.typeName === 'range' ? value.items : null;
}

/** `object[start:stop:step]` of text, list, tuple or range; other objects are an error, as in Jinja2. */
export function slice(object: Value, bounds: readonly Value[], runtime: Runtime): Value {
  const [start, stop, step] = [0, 1, 2].map((i) => sliceIndex(bounds[i] ?? null));
  const stride = step ?? 1;
  if (stride === 0) return valueError('slice step cannot be zero');
  const text = textOf(object);
  if (text !== null && stride === 1 && !/[\ud800-\udfff]/.test(text)) {
    return text.slice(start ?? 0, stop ?? text.length);
  }
  const items = sequenceOf(object);
  if (!items) return typeError(`'${typeName(object)}' object is not subscriptable`);
  const { length } = items;
  runtime.charge(length);
  const [low, high] = stride > 0 ? [0, length] : [-1, length - 1];
  const clamp = (index: number | null | undefined, fallback: number) =>
    index == null ? fallback : Math.min(Math.max(index < 0 ? index + length : index, low), high);
  const picked: Value[] = [];
  const last = clamp(stop, stride > 0 ? length : -1);
  for (let i = clamp(start, stride > 0 ? 0 : length - 1); stride > 0 ? i < last : i > last; i += stride) {
    picked.push(items[i] as Value);
  }
  if (text !== null) return picked.join('');
  return object instanceof Tuple ? new Tuple(picked) : picked;
}

/** A bound as a number that an array can have; null when absent. */
function sliceIndex(bound: Value): number | null {
  if (bound === null) return null;
  const index = numberOf(bound);
  if (typeof index !== 'bigint') {
    return typeError('slice indices must be integers or None or have an __index__ method');
  }
  return Math.max(Math.min(Number(index), 2 ** 40), -(2 ** 40));
}
