/** @file The filters over the items of lists, dicts and generators. */
import { getItem } from './attributes.ts';
import { joinTexts, pairsOf } from './methods.ts';
import { binary } from './operators.ts';
import { type Entry, intParam, type Method, type Param, printed, textParam } from './signature.ts';
import { codePoints } from './text.ts';
import {
  compare,
  equals,
  Generator,
  iterate,
  orElse,
  type Runtime,
  str,
  Tuple,
  textOf,
  truthy,
  typeError,
  Undefined,
  type Value,
  valueError,
} from './values.ts';

export const isTrue = (value: Param) => value !== undefined && truthy(value);

/** A getter for `attribute='a.b.0'` (missing: the item itself), with a fallback for what is undefined. */
function getter(runtime: Runtime, attribute: Param, fallback?: Param): (item: Value) => Value {
  if (attribute == null) return (item) => item;
  const parts = typeof attribute === 'bigint' ? [] : textParam(attribute).split('.');
  const path = parts.map((part) => (/^\d+$/.test(part) ? BigInt(part) : part));
  return (item) => {
    const keys = typeof attribute === 'bigint' ? [attribute] : path;
    const found = keys.reduce<Value>((value, key) => getItem(value, key, runtime), item);
    return found instanceof Undefined ? orElse(fallback, found) : found;
  };
}

/** A getter that makes texts lower case unless case matters. */
function keyGetter(runtime: Runtime, attribute: Param, isCaseSensitive: Param, fallback?: Param) {
  const get = getter(runtime, attribute, fallback);
  if (isTrue(isCaseSensitive)) return get;
  return (item: Value): Value => {
    const key = get(item);
    return textOf(key)?.toLowerCase() ?? key;
  };
}

function sorted(
  runtime: Runtime,
  items: readonly Value[],
  key: (item: Value) => Value,
  isReversed: Param,
): Value[] {
  const sign = isTrue(isReversed) ? -1 : 1;
  const keyed = items.map((item) => ({ key: key(item), item }));
  keyed.sort((a, b) => sign * compare(a.key, b.key, runtime));
  return keyed.map(({ item }) => item);
}

/** A filter that is a generator function in Python: nothing happens until its items are asked for. */
function lazy(
  signature: string,
  run: (runtime: Runtime, values: Value, ...params: Value[]) => Value[],
): Entry<Value> {
  return [signature, (runtime, values, ...params) => new Generator(() => run(runtime, values, ...params))];
}

function extreme(sign: number): Entry<Value> {
  return [
    'case_sensitive? attribute?',
    (runtime, values, isCaseSensitive: Param, attribute: Param) => {
      const key = keyGetter(runtime, attribute, isCaseSensitive);
      const [first, ...rest] = iterate(values, runtime);
      if (first === undefined) return new Undefined('No aggregated item, sequence was empty.');
      return rest.reduce(
        (best, item) => (sign * compare(key(item), key(best), runtime) > 0 ? item : best),
        first,
      );
    },
  ];
}

/** `map` and `select` treat everything false as empty, including none and 0. */
function itemsIfAny(runtime: Runtime, values: Value): Value[] {
  return truthy(values) ? iterate(values, runtime) : [];
}

/** `select`, `reject` and their `attr` forms: the remaining arguments are a test and its arguments. */
function selection(isKept: boolean, hasAttribute: boolean): Method<Value> {
  return (runtime, values, args, kwargs) => {
    if (hasAttribute && args.length === 0) return typeError('Missing parameter for attribute name');
    const get = getter(runtime, hasAttribute ? args[0] : undefined);
    const [test, ...testArgs] = hasAttribute ? args.slice(1) : args;
    const matches = (item: Value) =>
      test === undefined ? truthy(item) : runtime.test(textParam(test), item, testArgs, kwargs);
    return new Generator(() => itemsIfAny(runtime, values).filter((item) => matches(get(item)) === isKept));
  };
}

const map: Method<Value> = (runtime, values, [name, ...args], kwargs) => {
  if (name === undefined && !kwargs.has('attribute')) return typeError('map requires a filter argument');
  const change =
    name === undefined
      ? getter(runtime, kwargs.get('attribute'), kwargs.get('default'))
      : (item: Value) => runtime.filter(textParam(name), item, args, kwargs);
  return new Generator(() => itemsIfAny(runtime, values).map(change));
};

function groupBy(
  runtime: Runtime,
  values: Value,
  attribute: Value,
  fallback: Param,
  isCaseSensitive: Param,
): Value {
  const get = getter(runtime, attribute, fallback);
  const key = keyGetter(runtime, attribute, isCaseSensitive, fallback);
  const groups: Value[][] = [];
  for (const item of sorted(runtime, iterate(values, runtime), key, false)) {
    const first = groups.at(-1)?.[0];
    if (first !== undefined && equals(key(first), key(item), runtime)) groups.at(-1)?.push(item);
    else groups.push([item]);
  }
  return groups.map((items) => new Tuple([get(items[0] as Value), items], ['grouper', 'list']));
}

function unique(runtime: Runtime, values: Value, isCaseSensitive: Param, attribute: Param): Value[] {
  const key = keyGetter(runtime, attribute, isCaseSensitive);
  const seen: Value[] = [];
  return iterate(values, runtime).filter((item) => {
    const own = key(item);
    if (seen.some((other) => equals(other, own, runtime))) return false;
    return seen.push(own) > 0;
  });
}

function batch(runtime: Runtime, values: Value, size: Value, fill: Param): Value[] {
  const items = iterate(values, runtime);
  const length = Math.max(intParam(size), 1);
  const batches: Value[][] = [];
  for (let i = 0; i < items.length; i += length) batches.push(items.slice(i, i + length));
  const last = batches.at(-1);
  if (last && fill != null) {
    runtime.charge(length);
    while (last.length < length) last.push(fill);
  }
  return batches;
}

function slices(runtime: Runtime, values: Value, count: Value, fill: Param): Value[] {
  const items = iterate(values, runtime);
  const numSlices = intParam(count);
  if (numSlices <= 0) return valueError('slice needs a positive number of slices');
  runtime.charge(numSlices);
  const [length, numLonger] = [Math.floor(items.length / numSlices), items.length % numSlices];
  return Array.from({ length: numSlices }, (_, i) => {
    const start = i * length + Math.min(i, numLonger);
    const part = items.slice(start, start + length + (i < numLonger ? 1 : 0));
    return fill != null && i >= numLonger ? [...part, fill] : part;
  });
}

function sum(runtime: Runtime, values: Value, attribute: Param, start: Param): Value {
  const items = iterate(values, runtime).map(getter(runtime, attribute));
  return items.reduce((total, item) => binary('+', total, item, runtime), orElse(start, 0n));
}

function reverse(runtime: Runtime, value: Value): Value {
  const text = textOf(value);
  if (text !== null) return codePoints(text).reverse().join('');
  const reversed = iterate(value, runtime).toReversed();
  return new Generator(() => reversed);
}

function dictSort(
  runtime: Runtime,
  dict: Value,
  isCaseSensitive: Param,
  by: Param,
  isReversed: Param,
): Value {
  const position = { key: 0n, value: 1n }[textParam(by, 'key')];
  if (position === undefined) return valueError('You can only sort by either "key" or "value"');
  return sorted(runtime, pairsOf(runtime, dict), keyGetter(runtime, position, isCaseSensitive), isReversed);
}

/** `attribute` may name several, separated by commas. */
function sort(
  runtime: Runtime,
  values: Value,
  isReversed: Param,
  isCaseSensitive: Param,
  attribute: Param,
): Value {
  const attributes = typeof attribute === 'string' ? attribute.split(',') : [attribute];
  const getters = attributes.map((name) => keyGetter(runtime, name, isCaseSensitive));
  const key = (item: Value) => new Tuple(getters.map((get) => get(item)));
  return sorted(runtime, iterate(values, runtime), key, isReversed);
}

function join(runtime: Runtime, values: Value, separator: Param, attribute: Param): Value {
  const items = iterate(values, runtime).map(getter(runtime, attribute));
  const texts = items.map((item) => str(item, runtime));
  return joinTexts(runtime, printed(orElse(separator, ''), runtime), texts);
}

export const SEQUENCE_FILTERS: Readonly<Record<string, Entry<Value> | Method<Value>>> = {
  batch: lazy('linecount fill_with?', batch),
  dictsort: ['case_sensitive? by? reverse?', dictSort],
  first: [
    '',
    (runtime, values) =>
      orElse(iterate(values, runtime)[0], new Undefined('No first item, sequence was empty.')),
  ],
  groupby: ['attribute default? case_sensitive?', groupBy],
  items: lazy('', (runtime, value) => (value instanceof Undefined ? [] : pairsOf(runtime, value))),
  join: ['d? attribute?', join],
  last: [
    '',
    (runtime, values) =>
      orElse(iterate(values, runtime).at(-1), new Undefined('No last item, sequence was empty.')),
  ],
  list: ['', (runtime, values) => [...iterate(values, runtime)]],
  map,
  max: extreme(1),
  min: extreme(-1),
  reject: selection(false, false),
  rejectattr: selection(false, true),
  reverse: ['', reverse],
  select: selection(true, false),
  selectattr: selection(true, true),
  slice: lazy('slices fill_with?', slices),
  sort: ['reverse? case_sensitive? attribute?', sort],
  sum: ['attribute? start?', sum],
  unique: lazy('case_sensitive? attribute?', unique),
};
