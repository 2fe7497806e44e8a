/** @file The tests that `is` names, one row each. */
import { FILTERS } from './filters.ts';
import { isLower, isUpper } from './methods.ts';
import { binary } from './operators.ts';
import { type Entry, type Method, methodTable, printed } from './signature.ts';
import {
  compare,
  contains,
  equals,
  Generator,
  HostObject,
  Markup,
  numberOf,
  Tuple,
  textOf,
  Undefined,
  type Value,
  View,
} from './values.ts';

function ordering(op: string, holds: (order: number) => boolean): Entry<Value> {
  return ['other', (runtime, a, b) => holds(compare(a, b, runtime, op))];
}

const is = (holds: (value: Value) => boolean): Entry<Value> => ['', (_, value) => holds(value)];
const equal: Entry<Value> = ['other', (runtime, a, b) => equals(a, b, runtime)];
const unequal: Entry<Value> = ['other', (runtime, a, b) => !equals(a, b, runtime)];
const modulo = (remainder: bigint): Entry<Value> => [
  '',
  (runtime, value) => equals(binary('%', value, 2n, runtime), remainder, runtime),
];
const isText = (value: Value) => textOf(value) !== null;
const isList = (value: Value) => Array.isArray(value) || value instanceof Tuple || value instanceof Undefined;
const isSequence = (value: Value) =>
  isText(value) ||
  isList(value) ||
  value instanceof Map ||
  (value instanceof View && value.typeName === 'range');
const [lt, le] = [ordering('<', (order) => order < 0), ordering('<=', (order) => order <= 0)];
const [gt, ge] = [ordering('>', (order) => order > 0), ordering('>=', (order) => order >= 0)];

export const TESTS: ReadonlyMap<string, Method<Value>> = methodTable<Value>({
  '!=': unequal,
  '<': lt,
  '<=': le,
  '==': equal,
  '>': gt,
  '>=': ge,
  boolean: is((value) => typeof value === 'boolean'),
  callable: is(
    (value) => value instanceof Undefined || (value instanceof HostObject && value.native !== null),
  ),
  defined: is((value) => !(value instanceof Undefined)),
  divisibleby: ['num', (runtime, value, by) => equals(binary('%', value, by, runtime), 0n, runtime)],
  eq: equal,
  equalto: equal,
  escaped: is((value) => value instanceof Markup),
  even: modulo(0n),
  false: is((value) => value === false),
  filter: is((value) => FILTERS.has(textOf(value) ?? '')),
  float: is((value) => typeof value === 'number'),
  ge,
  greaterthan: gt,
  gt,
  in: ['seq', (runtime, value, seq) => contains(seq, value, runtime)],
  integer: is((value) => typeof value === 'bigint'),
  iterable: is((value) => isSequence(value) || value instanceof View || value instanceof Generator),
  le,
  lessthan: lt,
  lower: ['', (runtime, value) => isLower(printed(value, runtime))],
  lt,
  mapping: is((value) => value instanceof Map),
  ne: unequal,
  none: is((value) => value === null),
  number: is((value) => numberOf(value) !== null),
  odd: modulo(1n),
  sameas: ['other', (_, a, b) => a === b],
  sequence: is(isSequence),
  string: is(isText),
  test: is((value): boolean => TESTS.has(textOf(value) ?? '')),
  true: is((value) => value === true),
  undefined: is((value) => value instanceof Undefined),
  upper: ['', (runtime, value) => isUpper(printed(value, runtime))],
});
