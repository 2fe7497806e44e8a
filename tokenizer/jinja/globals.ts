/** @file The functions that every template has: Jinja2's and the two of transformers (raise_exception, strftime_now). */
import { JinjaError } from './error.ts';
import { intParam, type Method, methodTable, type Param, printed, textParam } from './signature.ts';
import {
  type Dict,
  HostObject,
  iterate,
  type Key,
  type Kwargs,
  keyOf,
  Namespace,
  type Runtime,
  typeError,
  type Value,
  View,
  valueError,
} from './values.ts';

/** Jinja2's sandbox has the same limit. */
const MAX_RANGE = 100_000;

function range(runtime: Runtime, _: null, first: Value, second: Param, third: Param): Value {
  const [start, stop] = second === undefined ? [0, intParam(first)] : [intParam(first), intParam(second)];
  const step = intParam(third, 1);
  if (step === 0) return valueError('range() arg 3 must not be zero');
  const length = Math.max(Math.ceil((stop - start) / step), 0);
  if (length > MAX_RANGE)
    return valueError(`Range too big. The sandbox blocks ranges larger than ${MAX_RANGE}.`);
  runtime.charge(length);
  const items = Array.from({ length }, (_, i) => BigInt(start + i * step));
  return new View('range', items, `range(${start}, ${stop}${step === 1 ? '' : `, ${step}`})`);
}

/** The entries of `dict(mapping_or_pairs, **kwargs)`. */
function entries(runtime: Runtime, _: null, args: readonly Value[], kwargs: Kwargs): Map<Key, Value> {
  const [source, ...rest] = args;
  if (rest.length > 0) return typeError(`dict expected at most 1 argument, got ${args.length}`);
  const dict = new Map<Key, Value>();
  if (source instanceof Map) for (const [key, value] of source as Dict) dict.set(key, value);
  else if (source !== undefined) {
    for (const pair of iterate(source, runtime)) {
      const [key, value] = iterate(pair, runtime);
      if (key === undefined || value === undefined) return valueError('dict() needs pairs');
      dict.set(keyOf(key), value);
    }
  }
  for (const [key, value] of kwargs) dict.set(key, value);
  return dict;
}

const namespace: Method<null> = (runtime, self, args, kwargs) => {
  const result = new Namespace();
  for (const [key, value] of entries(runtime, self, args, kwargs)) result.fields.set(String(key), value);
  return result;
};

const cycler: Method<null> = (_runtime, _self, items) => {
  if (items.length === 0) return typeError('at least one item has to be provided');
  let position = 0;
  const method = (run: () => Value) => new HostObject('method', run);
  const next = () => {
    const item = items[position] as Value;
    position = (position + 1) % items.length;
    return item;
  };
  const reset = () => {
    position = 0;
    return null;
  };
  return new HostObject('Cycler', null, (name) => {
    if (name === 'current') return items[position];
    return name === 'next' ? method(next) : name === 'reset' ? method(reset) : undefined;
  });
};

function joiner(runtime: Runtime, _: null, separator: Param): Value {
  const text = separator === undefined ? ', ' : printed(separator, runtime);
  let isUsed = false;
  return new HostObject('Joiner', () => {
    const result = isUsed ? text : '';
    isUsed = true;
    return result;
  });
}

const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const MONTHS = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
];
const twoDigits = (n: number) => String(n).padStart(2, '0');
const dayOfYear = (date: Date) =>
  Math.round(
    (Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 0)) /
      86_400_000,
  );

const DATE_FIELDS = new Map<string, (date: Date) => string>([
  ['a', (date) => (DAYS[date.getDay()] as string).slice(0, 3)],
  ['A', (date) => DAYS[date.getDay()] as string],
  ['b', (date) => (MONTHS[date.getMonth()] as string).slice(0, 3)],
  ['B', (date) => MONTHS[date.getMonth()] as string],
  ['c', (date) => strftime('%a %b %e %H:%M:%S %Y', date)],
  ['d', (date) => twoDigits(date.getDate())],
  ['D', (date) => strftime('%m/%d/%y', date)],
  ['e', (date) => String(date.getDate()).padStart(2)],
  ['f', (date) => `${String(date.getMilliseconds()).padStart(3, '0')}000`],
  ['F', (date) => strftime('%Y-%m-%d', date)],
  ['H', (date) => twoDigits(date.getHours())],
  ['I', (date) => twoDigits(date.getHours() % 12 || 12)],
  ['j', (date) => String(dayOfYear(date)).padStart(3, '0')],
  ['m', (date) => twoDigits(date.getMonth() + 1)],
  ['M', (date) => twoDigits(date.getMinutes())],
  ['p', (date) => (date.getHours() < 12 ? 'AM' : 'PM')],
  ['S', (date) => twoDigits(date.getSeconds())],
  ['T', (date) => strftime('%H:%M:%S', date)],
  ['u', (date) => String(date.getDay() || 7)],
  ['w', (date) => String(date.getDay())],
  ['x', (date) => strftime('%m/%d/%y', date)],
  ['X', (date) => strftime('%H:%M:%S', date)],
  ['y', (date) => twoDigits(date.getFullYear() % 100)],
  ['Y', (date) => String(date.getFullYear())],
  ['z', () => ''],
  ['Z', () => ''],
  ['%', () => '%'],
]);

/** C's strftime in the C locale and local time; `-` drops leading zeros as glibc does; unknown codes stay. */
function strftime(format: string, date: Date): string {
  return format.replace(/%(-?)([a-zA-Z%])/g, (whole, flag, code) => {
    const text = DATE_FIELDS.get(code)?.(date) ?? whole;
    return flag ? text.replace(/^[0 ]+(?=.)/, '') : text;
  });
}

const FUNCTIONS = methodTable<null>({
  cycler,
  dict: entries,
  joiner: ['sep?', joiner],
  namespace,
  raise_exception: [
    'message',
    (runtime, _, message) => {
      throw new JinjaError('raised', printed(message, runtime));
    },
  ],
  range: ['start stop? step?', range],
  strftime_now: ['format', (runtime, _, format) => strftime(textParam(format), runtime.now())],
});

export const GLOBALS: ReadonlyMap<string, Value> = new Map(
  Array.from(FUNCTIONS, ([name, method]) => [
    name,
    new HostObject('function', (runtime, args, kwargs) => method(runtime, null, args, kwargs)),
  ]),
);
