/** @file Python's two ways to fill text: `'%s' % x` and `'{}'.format(x)`, without access to attributes of the values. */

import { printed } from './signature.ts';
import { codePointLength, formatExponent, reprFloat, toFixedEven } from './text.ts';
import {
  type Kwargs,
  numberOf,
  type Runtime,
  repr,
  Tuple,
  typeError,
  typeName,
  type Value,
  valueError,
} from './values.ts';

interface Spec {
  readonly fill: string;
  readonly align: string;
  readonly sign: string;
  readonly isAlternate: boolean;
  readonly width: number;
  readonly grouping: string;
  readonly precision: number | null;
  readonly type: string;
}

const MAX_PRECISION = 99;

/** `format % values`; a width or precision of `*` is not supported. */
export function percentFormat(format: string, values: Value, runtime: Runtime): string {
  runtime.charge(format.length);
  const args = values instanceof Tuple ? values.items : [values];
  let next = 0;
  const take = (): Value => {
    const value = args[next++];
    return value === undefined ? typeError('not enough arguments for format string') : value;
  };
  const filled = format.replace(
    /%(?:\((\w*)\))?([-+ #0]*)(\d*)(?:\.(\d*))?([a-zA-Z%]?)/g,
    (
      _,
      name: string | undefined,
      flags: string,
      width: string,
      precision: string | undefined,
      type: string,
    ) => {
      if (type === '%') return '%';
      const spec = percentSpec(flags, width, precision, type);
      return percentValue(name === undefined ? take() : mapped(values, name), spec, runtime);
    },
  );
  const isMapping = Array.isArray(values) || values instanceof Map;
  if (next < args.length && !isMapping) typeError('not all arguments converted during string formatting');
  return filled;
}

const NUMBER_TYPES = 'diouxXeEfFgG';

function percentSpec(flags: string, width: string, precision: string | undefined, type: string): Spec {
  const isLeft = flags.includes('-');
  const isZeroFilled = flags.includes('0') && !isLeft && NUMBER_TYPES.includes(type);
  return {
    fill: isZeroFilled ? '0' : ' ',
    align: isLeft ? '<' : isZeroFilled ? '=' : '>',
    sign: flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '-',
    isAlternate: flags.includes('#'),
    width: Number(width),
    grouping: '',
    precision: precision === undefined ? null : Number(precision),
    type,
  };
}

function percentValue(value: Value, spec: Spec, runtime: Runtime): string {
  const { type } = spec;
  if (type === 's') return pad(cut(printed(value, runtime), spec), spec, runtime);
  if (type === 'r') return pad(cut(repr(value, runtime), spec), spec, runtime);
  if (type === '' || !NUMBER_TYPES.includes(type))
    return valueError(`unsupported format character '${type}'`);
  const number = numberOf(value);
  if (number === null) return typeError(`%${type} format: a real number is required, not ${typeName(value)}`);
  if (!'diouxX'.includes(type)) return formatNumber(number, spec, runtime);
  const whole = typeof number === 'number' ? BigInt(Math.trunc(number)) : number;
  return formatNumber(whole, { ...spec, type: 'iu'.includes(type) ? 'd' : type }, runtime);
}

function mapped(values: Value, name: string): Value {
  const value = values instanceof Map ? values.get(name) : typeError('format requires a mapping');
  return value === undefined ? typeError(`format has no value '${name}'`) : value;
}

/** `format.format(*args, **kwargs)`. Fields are positions and names; `{0.attribute}` and `{0[key]}` are refused. */
export function braceFormat(
  format: string,
  args: readonly Value[],
  kwargs: Kwargs,
  runtime: Runtime,
): string {
  runtime.charge(format.length);
  let next = 0;
  return format.replace(
    /\{\{|\}\}|\{([^{}:!]*)(?:!([rs]))?(?::([^{}]*))?\}|[{}]/g,
    (whole, field: string | undefined, conversion: string | undefined, spec: string | undefined) => {
      if (whole === '{{' || whole === '}}') return whole[0] as string;
      if (field === undefined) return valueError('unmatched brace in format string');
      if (/[.[]/.test(field))
        return valueError(`format field '${field}': attributes and items are not supported`);
      const value =
        field === '' ? args[next++] : /^\d+$/.test(field) ? args[Number(field)] : kwargs.get(field);
      if (value === undefined) return valueError(`format has no value for '{${field}}'`);
      const text =
        conversion === 'r' ? repr(value, runtime) : conversion === 's' ? printed(value, runtime) : value;
      return formatValue(text, parseSpec(spec ?? ''), runtime);
    },
  );
}

function parseSpec(text: string): Spec {
  const found = /^(?:(.)?([<>=^]))?([-+ ])?(#)?(0)?(\d*)([,_])?(?:\.(\d+))?([a-zA-Z%])?$/su.exec(text);
  if (!found) return valueError(`Invalid format specifier '${text}'`);
  const [, fill, align, sign = '-', alternate, zero, width, grouping = '', precision, type = ''] = found;
  return {
    fill: fill ?? (zero ? '0' : ' '),
    align: align ?? (zero ? '=' : ''),
    sign,
    isAlternate: alternate !== undefined,
    width: Number(width),
    grouping,
    precision: precision === undefined ? null : Number(precision),
    type,
  };
}

function formatValue(value: Value, spec: Spec, runtime: Runtime): string {
  const number = typeof value === 'boolean' && spec.type === '' ? null : numberOf(value);
  if (number !== null && spec.type !== 's') return formatNumber(number, spec, runtime);
  if (spec.type !== '' && spec.type !== 's') {
    return valueError(`Unknown format code '${spec.type}' for object of type '${typeName(value)}'`);
  }
  return pad(cut(printed(value, runtime), spec), { ...spec, align: spec.align || '<' }, runtime);
}

function cut(text: string, { precision }: Spec): string {
  return precision === null ? text : Array.from(text).slice(0, precision).join('');
}

function pad(text: string, { fill, align, width }: Spec, runtime: Runtime): string {
  const missing = width - codePointLength(text);
  if (missing <= 0) return text;
  runtime.allocate(width);
  const left = align === '<' ? 0 : align === '^' ? missing >> 1 : missing;
  return fill.repeat(left) + text + fill.repeat(missing - left);
}

function formatNumber(number: bigint | number, spec: Spec, runtime: Runtime): string {
  const isNegative = number < 0 || Object.is(number, -0);
  const magnitude = isNegative ? -number : number;
  const sign = isNegative ? '-' : spec.sign === '-' ? '' : spec.sign;
  const [whole = '', ...rest] = digits(magnitude, spec).split(/(?=[.e%])/);
  const grouped = spec.grouping ? whole.replace(/\B(?=(?:\d{3})+$)/g, spec.grouping) : whole;
  const text = grouped + rest.join('');
  if (spec.align !== '=') return pad(sign + text, { ...spec, align: spec.align || '>' }, runtime);
  return sign + pad(text, { ...spec, align: '>', width: spec.width - sign.length }, runtime);
}

const BASES: Record<string, [number, string]> = { b: [2, '0b'], o: [8, '0o'], x: [16, '0x'], X: [16, '0X'] };

function digits(x: bigint | number, spec: Spec): string {
  const { type, isAlternate } = spec;
  const base = BASES[type];
  if (typeof x === 'bigint' && (base || type === '' || type === 'd')) {
    const text = x.toString(base?.[0] ?? 10);
    return (isAlternate && base ? base[1] : '') + (type === 'X' ? text.toUpperCase() : text);
  }
  const value = Number(x);
  const precision = Math.min(spec.precision ?? 6, MAX_PRECISION);
  if (!Number.isFinite(value)) return reprFloat(value);
  if (type === '%') return `${toFixedEven(value * 100, precision)}%`;
  if (type === 'f' || type === 'F') return toFixedEven(value, precision);
  if (type === 'e' || type === 'E') return exponential(value, precision, type);
  if (type === 'g' || type === 'G') return general(value, Math.max(precision, 1), type === 'G' ? 'E' : 'e');
  if (type !== '') return valueError(`Unknown format code '${type}' for object of type 'float'`);
  return spec.precision === null ? reprFloat(value) : general(value, Math.max(precision, 1), 'e');
}

function exponential(x: number, precision: number, letter: string): string {
  const [mantissa = '', exponent = '0'] = x.toExponential(precision).split('e');
  return `${mantissa}${letter}${formatExponent(Number(exponent))}`;
}

function general(x: number, precision: number, letter: string): string {
  const power = x === 0 ? 0 : Number(x.toExponential(precision - 1).split('e')[1]);
  const trim = (text: string) => (text.includes('.') ? text.replace(/\.?0+$/, '') : text);
  if (power >= -4 && power < precision) return trim(toFixedEven(x, precision - 1 - power));
  const [mantissa = '', exponent = '0'] = x.toExponential(precision - 1).split('e');
  return `${trim(mantissa)}${letter}${formatExponent(Number(exponent))}`;
}
