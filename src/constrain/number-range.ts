/** @file Decimal numbers between two limits as expressions. Knows nothing of schemas. */
import {
  choice,
  EMPTY,
  type Expression,
  NOTHING,
  oneOf,
  optional,
  repeat,
  sequence,
  words,
} from './expression.ts';
import { DIGITS_AFTER_POINT, MAX_FRACTION_DIGITS, MAX_INTEGER_DIGITS } from './json-text.ts';

export interface Limits {
  readonly min?: number;
  readonly max?: number;
  /** The limit itself is not allowed. */
  readonly isMinExcluded?: boolean;
  readonly isMaxExcluded?: boolean;
}

const LARGEST = 10n ** BigInt(MAX_INTEGER_DIGITS) - 1n;
/** Numbers here have so few digits that limits beyond this one never matter. */
const MAX_LIMIT = 10 ** (MAX_INTEGER_DIGITS - 1);

/** A limit without its sign: digits before and after the point. */
interface Bound {
  readonly whole: bigint;
  readonly fraction: string;
}

const ZERO: Bound = { whole: 0n, fraction: '' };

const anyDigits = (min: number, max: number): Expression => repeat(oneOf('0123456789'), min, max);

/** Integers without exponent within the limits. */
export function integersBetween(limits: Limits): Expression {
  const [min, max] = integerLimits(limits);
  const parts: Expression[] = [];
  if (max >= 0n) parts.push(wholeBetween(min > 0n ? min : 0n, max));
  if (min < 0n) parts.push(sequence(words('-'), wholeBetween(max < 0n ? -max : 1n, -min)));
  return choice(...parts);
}

/** The least and the greatest integer within the limits. If there is none, the first is the greater one. */
export function integerLimits(limits: Limits): [bigint, bigint] {
  const { min, max } = includedLimits(limits);
  if (min > MAX_LIMIT || max < -MAX_LIMIT) return [1n, 0n];
  return [
    min < -MAX_LIMIT ? -LARGEST : BigInt(Math.ceil(min)),
    max > MAX_LIMIT ? LARGEST : BigInt(Math.floor(max)),
  ];
}

/** Decimals without exponent within the limits. */
export function numbersBetween(limits: Limits): Expression {
  const { min, max } = includedLimits(limits);
  if (min > MAX_LIMIT || max < -MAX_LIMIT) return NOTHING;
  const parts: Expression[] = [];
  if (max >= 0) parts.push(magnitudes(min > 0 ? bound(min) : ZERO, bound(max)));
  if (min < 0) parts.push(sequence(words('-'), magnitudes(max < 0 ? bound(max) : ZERO, bound(min))));
  return choice(...parts);
}

function bound(value: number): Bound {
  if (Math.abs(value) > MAX_LIMIT) return { whole: LARGEST, fraction: '' };
  const [whole = '0', fraction = ''] = decimal(Math.abs(value)).split('.');
  return { whole: BigInt(whole), fraction };
}

/** An excluded limit becomes an included one, the next double. A decimal closer to the limit would be read as the limit. */
function includedLimits(limits: Limits): { min: number; max: number } {
  const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY } = limits;
  return {
    min: limits.isMinExcluded ? nextUp(min) : min,
    max: limits.isMaxExcluded ? -nextUp(-max) : max,
  };
}

function nextUp(value: number): number {
  if (value === 0) return Number.MIN_VALUE;
  const bits = new BigInt64Array(new Float64Array([value]).buffer);
  bits[0]! += value > 0 ? 1n : -1n;
  return new Float64Array(bits.buffer)[0]!;
}

/** A double in plain decimal notation, with the fewest digits that are read as the same double. */
function decimal(value: number): string {
  const [digits = '', exponent = '0'] = String(value).split('e');
  const [whole = '', fraction = ''] = digits.split('.');
  const shift = Number(exponent);
  if (shift >= 0) return `${whole}${fraction.slice(0, shift).padEnd(shift, '0')}.${fraction.slice(shift)}`;
  const all = `${'0'.repeat(-shift)}${whole}`;
  return `${all.slice(0, shift)}.${all.slice(shift)}${fraction}`;
}

function magnitudes(from: Bound, to: Bound): Expression {
  if (from.whole > to.whole) return NOTHING;
  const afterPoint = optional(sequence(words('.'), DIGITS_AFTER_POINT));
  if (from.whole === to.whole) return sequence(words(`${from.whole}`), fractions(from, to));
  return choice(
    sequence(words(`${from.whole}`), fractions(from, undefined)),
    sequence(wholeBetween(from.whole + 1n, to.whole - 1n), afterPoint),
    sequence(words(`${to.whole}`), fractions(undefined, to)),
  );
}

/** What may follow the digits before the point where they equal those of a limit: nothing, or a point and digits. */
function fractions(from: Bound | undefined, to: Bound | undefined): Expression {
  const withPoint = sequence(words('.'), fractionDigits(from, to, 0));
  return mayStop(from, 0) ? choice(EMPTY, withPoint) : withPoint;
}

/** The digits from position `at` on, where those before are equal to those of each limit that is still given. */
function fractionDigits(from: Bound | undefined, to: Bound | undefined, at: number): Expression {
  if (from === undefined && to === undefined) return anyDigits(0, Math.max(MAX_FRACTION_DIGITS - at, 0));
  if (at >= MAX_FRACTION_DIGITS) return mayStop(from, at) ? EMPTY : NOTHING;
  const low = Number(from?.fraction[at] ?? 0);
  const high = to === undefined ? 9 : Number(to.fraction[at] ?? 0);
  const parts: Expression[] = [];
  for (let digit = low; digit <= high; digit++) {
    const isLow = from !== undefined && digit === low;
    const isHigh = to !== undefined && digit === high;
    if (!isLow && !isHigh) continue;
    parts.push(
      sequence(words(`${digit}`), fractionDigits(isLow ? from : undefined, isHigh ? to : undefined, at + 1)),
    );
  }
  const free = [...'0123456789'].filter(
    (digit) => (from === undefined || Number(digit) > low) && (to === undefined || Number(digit) < high),
  );
  if (free.length > 0) {
    parts.push(sequence(oneOf(free.join('')), anyDigits(0, Math.max(MAX_FRACTION_DIGITS - at - 1, 0))));
  }
  if (at > 0 && mayStop(from, at)) parts.push(EMPTY);
  return choice(...parts);
}

/** Whether the digits so far, with zeros after them, are not below the lower limit. They are never above the upper one. */
const mayStop = (from: Bound | undefined, at: number): boolean =>
  from === undefined || /^0*$/.test(from.fraction.slice(at));

/** Digits of the integers from `min` to `max`, both at least 0, without leading zeros. */
function wholeBetween(min: bigint, max: bigint): Expression {
  if (min > max) return NOTHING;
  const [low, high] = [`${min}`, `${max}`];
  if (low.length === high.length) return sameLength(low, high);
  const parts = [sameLength(low, '9'.repeat(low.length))];
  if (high.length - low.length > 1) {
    parts.push(sequence(oneOf('123456789'), anyDigits(low.length, high.length - 2)));
  }
  parts.push(sameLength(`1${'0'.repeat(high.length - 1)}`, high));
  return choice(...parts);
}

function sameLength(low: string, high: string): Expression {
  if (low === '') return EMPTY;
  const isFull = /^0*$/.test(low) && /^9*$/.test(high);
  if (isFull) return anyDigits(low.length, low.length);
  const [first, last] = [Number(low[0]), Number(high[0])];
  const [lowRest, highRest] = [low.slice(1), high.slice(1)];
  if (first === last) return sequence(words(low[0]!), sameLength(lowRest, highRest));
  const parts = [
    sequence(words(low[0]!), sameLength(lowRest, '9'.repeat(lowRest.length))),
    sequence(words(high[0]!), sameLength('0'.repeat(highRest.length), highRest)),
  ];
  const between = '0123456789'.slice(first + 1, last);
  if (between !== '') parts.push(sequence(oneOf(between), anyDigits(lowRest.length, lowRest.length)));
  return choice(...parts);
}
