/**
 * @file The values of a template, with Python's meaning: int is bigint, float is number, list is an array, dict is a
 * Map. Nothing here can reach a JavaScript property of a value by a name that a template chose.
 */
import { JinjaError, type JinjaErrorKind } from './error.ts';
import { codePointLength, codePoints, compareText, reprFloat, reprText } from './text.ts';

export type Value =
  | null
  | boolean
  | bigint
  | number
  | string
  | Markup
  | Undefined
  | Value[]
  | Tuple
  | Dict
  | View
  | Generator
  | Namespace
  | HostObject;
export type Key = null | boolean | bigint | number | string;
export interface Dict extends ReadonlyMap<Key, Value> {}
export type Kwargs = ReadonlyMap<string, Value>;

/** A function that templates can call. */
export type Native = (runtime: Runtime, args: readonly Value[], kwargs: Kwargs) => Value;

/** What functions, filters and tests may use of a running render. */
export interface Runtime {
  readonly now: () => Date;
  /** Counts work; throws JinjaError `limit` when the render has done too much. */
  charge(numSteps: number): void;
  /** Call this before making a text of this many UTF-16 units. */
  allocate(length: number): void;
  call(callee: Value, args: readonly Value[], kwargs: Kwargs): Value;
  filter(name: string, input: Value, args: readonly Value[], kwargs: Kwargs): Value;
  test(name: string, input: Value, args: readonly Value[], kwargs: Kwargs): boolean;
}

/** Steps for one sweep of native code over a text; code that looks at each character costs its whole length. */
export const sweepCost = (length: number) => length >> 5;

/** A missing variable, field or item: empty when printed, an error when used. */
export class Undefined {
  readonly message: string;
  readonly kind: JinjaErrorKind;

  constructor(message: string, kind: JinjaErrorKind = 'undefined') {
    this.message = message;
    this.kind = kind;
  }

  fail(): never {
    throw new JinjaError(this.kind, this.message);
  }
}

/** Text that `safe` or `escape` marked as HTML: `+` escapes what is added to it. */
export class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** A tuple; `names` are further names of its items, as in Python's namedtuple. */
export class Tuple {
  readonly items: Value[];
  readonly names: readonly string[];

  constructor(items: Value[], names: readonly string[] = []) {
    this.items = items;
    this.names = names;
  }
}

/** range() and dict views: what Python prints by its type name. */
export class View {
  readonly typeName: 'range' | 'dict_keys' | 'dict_values' | 'dict_items';
  readonly items: Value[];
  readonly label: string;

  constructor(typeName: View['typeName'], items: Value[], label = '') {
    this.typeName = typeName;
    this.items = items;
    this.label = label;
  }
}

/** What the lazy filters give: items are computed when first asked for, and can be read only once. */
export class Generator {
  private produce: (() => Value[]) | null;

  constructor(produce: () => Value[]) {
    this.produce = produce;
  }

  take(): Value[] {
    const { produce } = this;
    this.produce = null;
    return produce ? produce() : [];
  }
}

export class Namespace {
  readonly fields = new Map<string, Value>();
}

/** Objects of the engine itself: functions, macros, `loop`, cycler. */
export class HostObject {
  readonly typeName: string;
  readonly native: Native | null;
  readonly attribute: (name: string) => Value | undefined;

  constructor(
    typeName: string,
    native: Native | null,
    attribute: (name: string) => Value | undefined = () => undefined,
  ) {
    this.typeName = typeName;
    this.native = native;
    this.attribute = attribute;
  }
}

/** The value, or the fallback where there is none (`??` would replace None as well). */
export function orElse(value: Value | undefined, fallback: Value): Value {
  return value === undefined ? fallback : value;
}

export function typeName(value: Value): string {
  if (value === null) return 'NoneType';
  if (Array.isArray(value)) return 'list';
  if (value instanceof Map) return 'dict';
  if (value instanceof Tuple) return 'tuple';
  if (value instanceof View || value instanceof HostObject) return value.typeName;
  if (value instanceof Generator) return 'generator';
  if (value instanceof Namespace) return 'Namespace';
  if (value instanceof Undefined) return 'Undefined';
  if (value instanceof Markup) return 'Markup';
  const names: Record<string, string> = { boolean: 'bool', bigint: 'int', number: 'float', string: 'str' };
  return names[typeof value] as string;
}

export function typeError(message: string): never {
  throw new JinjaError('type', message);
}

export function valueError(message: string): never {
  throw new JinjaError('value', message);
}

/** The deepest nesting of messages and arguments that is accepted. */
const MAX_INPUT_DEPTH = 200;

/**
 * A JSON-like JavaScript value as a template sees it. Integers become int, other numbers (and those beyond 2^53) float;
 * fields that are `undefined` are absent. Throws JinjaError `type` for functions, symbols and class instances.
 */
export function fromJs(value: unknown, runtime: Runtime, depth = 0): Value {
  runtime.charge(1);
  if (depth > MAX_INPUT_DEPTH) throw new JinjaError('limit', `nested deeper than ${MAX_INPUT_DEPTH} levels`);
  if (value === null || value === undefined) return null;
  if (typeof value === 'string' || typeof value === 'boolean' || typeof value === 'bigint') return value;
  if (typeof value === 'number') {
    return Number.isSafeInteger(value) && !Object.is(value, -0) ? BigInt(value) : value;
  }
  if (Array.isArray(value)) return Array.from(value, (item) => fromJs(item, runtime, depth + 1));
  if (Object.prototype.toString.call(value) !== '[object Object]') {
    return typeError(`${Object.prototype.toString.call(value)} is not a JSON value`);
  }
  const dict = new Map<Key, Value>();
  for (const [key, item] of Object.entries(value)) {
    if (item !== undefined) dict.set(key, fromJs(item, runtime, depth + 1));
  }
  return dict;
}

export function truthy(value: Value): boolean {
  if (value instanceof Undefined) return false;
  if (value instanceof Markup) return value.text !== '';
  if (Array.isArray(value)) return value.length > 0;
  if (value instanceof Map) return value.size > 0;
  if (value instanceof Tuple) return value.items.length > 0;
  if (value instanceof View) return value.items.length > 0;
  return typeof value === 'object' ? value !== null : Boolean(value);
}

/** The text of a str (or markup), or null for anything else. */
export function textOf(value: Value | undefined): string | null {
  return typeof value === 'string' ? value : value instanceof Markup ? value.text : null;
}

/** The number of an int, bool or float, or null for anything else. */
export function numberOf(value: Value | undefined): bigint | number | null {
  if (typeof value === 'boolean') return value ? 1n : 0n;
  return typeof value === 'bigint' || typeof value === 'number' ? value : null;
}

/** The items that a `for` would visit. Throws like Python if the value is not iterable. */
export function iterate(value: Value, runtime: Runtime): Value[] {
  const items = itemsOf(value);
  if (!items) return typeError(`'${typeName(value)}' object is not iterable`);
  runtime.charge(items.length);
  return items;
}

function itemsOf(value: Value): Value[] | null {
  if (Array.isArray(value)) return value;
  if (value instanceof Map) return [...value.keys()];
  if (value instanceof Tuple) return value.items;
  if (value instanceof View) return value.items;
  if (value instanceof Generator) return value.take();
  if (value instanceof Undefined) return [];
  const text = textOf(value);
  return text === null ? null : codePoints(text);
}

export function lengthOf(value: Value): number {
  const text = textOf(value);
  if (text !== null) return codePointLength(text);
  if (value instanceof Map) return value.size;
  const items = value instanceof Generator ? null : itemsOf(value);
  return items ? items.length : typeError(`object of type '${typeName(value)}' has no len()`);
}

/** A value as a dict key, or undefined when it cannot be one (tuples as keys are not supported either). */
export function hashableOf(value: Value): Key | undefined {
  if (value instanceof Markup) return value.text;
  if (typeof value === 'number' && Number.isInteger(value)) return BigInt(value);
  return value === null || typeof value !== 'object' ? value : undefined;
}

/** A value as a dict key; an error if it cannot be one. */
export function keyOf(value: Value): Key {
  const key = hashableOf(value);
  return key === undefined ? typeError(`unhashable type: '${typeName(value)}'`) : key;
}

/** `str(value)`: what `{{ value }}` prints. */
export function str(value: Value, runtime: Runtime): string {
  return textOf(value) ?? (value instanceof Undefined ? '' : repr(value, runtime));
}

export function repr(value: Value, runtime: Runtime): string {
  runtime.charge(1);
  const all = (items: readonly Value[]) => items.map((item) => repr(item, runtime)).join(', ');
  const pairs = (entries: Iterable<readonly [Value, Value]>) =>
    Array.from(entries, ([key, item]) => `${repr(key, runtime)}: ${repr(item, runtime)}`).join(', ');
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number') return reprFloat(value);
  if (typeof value === 'string') {
    runtime.charge(value.length);
    return reprText(value);
  }
  if (Array.isArray(value)) return `[${all(value)}]`;
  if (value instanceof Tuple)
    return value.items.length === 1 ? `(${all(value.items)},)` : `(${all(value.items)})`;
  if (value instanceof Map) return `{${pairs(value)}}`;
  if (value instanceof Undefined) return 'Undefined';
  if (value instanceof Markup) return `Markup(${reprText(value.text)})`;
  if (value instanceof Namespace) return `<Namespace {${pairs(value.fields)}}>`;
  if (value instanceof View && value.typeName === 'range') return value.label;
  if (value instanceof View) return `${value.typeName}([${all(value.items)}])`;
  return `<${typeName(value)} object>`;
}

export function equals(a: Value, b: Value, runtime: Runtime): boolean {
  runtime.charge(1);
  if (a === b) return true;
  const [x, y] = [numberOf(a), numberOf(b)];
  // biome-ignore lint/suspicious/noDoubleEquals: compares a bigint with a number by value, as Python does
  if (x !== null && y !== null) return x == y;
  const [s, t] = [textOf(a), textOf(b)];
  if (s !== null && t !== null) {
    if (s.length === t.length) runtime.charge(sweepCost(s.length));
    return s === t;
  }
  if (Array.isArray(a) && Array.isArray(b)) return sameItems(a, b, runtime);
  if (a instanceof Tuple && b instanceof Tuple) return sameItems(a.items, b.items, runtime);
  if (a instanceof View && b instanceof View) {
    return a.typeName === b.typeName && sameItems(a.items, b.items, runtime);
  }
  if (a instanceof Map && b instanceof Map) {
    if (a.size !== b.size) return false;
    for (const [key, item] of a) {
      const other = b.get(key);
      if (other === undefined || !equals(item, other, runtime)) return false;
    }
    return true;
  }
  return a instanceof Undefined && b instanceof Undefined;
}

function sameItems(a: Value[], b: Value[], runtime: Runtime): boolean {
  return a.length === b.length && a.every((item, i) => equals(item, b[i] as Value, runtime));
}

/** Negative, zero, positive (or NaN) for `a < b`, `a == b`, `a > b`; `op` is named when the two have no order. */
export function compare(a: Value, b: Value, runtime: Runtime, op = '<'): number {
  runtime.charge(3);
  const [x, y] = [numberOf(a), numberOf(b)];
  if (x !== null && y !== null) return x < y ? -1 : x > y ? 1 : x >= y ? 0 : Number.NaN;
  const [s, t] = [textOf(a), textOf(b)];
  if (s !== null && t !== null) {
    runtime.charge(sweepCost(Math.min(s.length, t.length)));
    return compareText(s, t);
  }
  const [l, r] = [a, b].map((v) => (v instanceof Tuple ? v.items : Array.isArray(v) ? v : null));
  if (l && r && Array.isArray(a) === Array.isArray(b)) {
    const at = l.findIndex((item, i) => i >= r.length || !equals(item, r[i] as Value, runtime));
    if (at < 0 || at >= r.length) return l.length - r.length;
    return compare(l[at] as Value, r[at] as Value, runtime, op);
  }
  if (a instanceof Undefined) a.fail();
  if (b instanceof Undefined) b.fail();
  return typeError(`'${op}' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
}

/** Counts the work of a search for `needle` in `haystack`. */
export function chargeSearch(haystack: string, needle: string, runtime: Runtime): void {
  runtime.charge(sweepCost(haystack.length) * (1 + sweepCost(needle.length)));
}

/** `item in container`. */
export function contains(container: Value, item: Value, runtime: Runtime): boolean {
  const text = textOf(container);
  if (text !== null) {
    if (item instanceof Undefined) item.fail();
    const needle = textOf(item);
    if (needle === null)
      return typeError(`'in <string>' requires string as left operand, not ${typeName(item)}`);
    chargeSearch(text, needle, runtime);
    return text.includes(needle);
  }
  if (container instanceof Map) {
    if (Array.isArray(item) || item instanceof Map) return typeError(`unhashable type: '${typeName(item)}'`);
    const key = hashableOf(item);
    return key !== undefined && container.has(key);
  }
  const items = itemsOf(container);
  if (!items) return typeError(`argument of type '${typeName(container)}' is not iterable`);
  return items.some((other) => equals(item, other, runtime));
}
