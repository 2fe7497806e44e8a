/** @file The filters, one row each. Those that only make sense for HTML pages (urlize, xmlattr, ...) are not here. */
import { attributeOf } from './attributes.ts';
import { percentFormat } from './format.ts';
import { type JsonOptions, toJson } from './json.ts';
import { centered, justify, replaceText, stripText } from './methods.ts';
import { escapeHtml } from './operators.ts';
import { isTrue, SEQUENCE_FILTERS } from './sequences.ts';
import {
  type Entry,
  intParam,
  type Method,
  methodTable,
  type Param,
  printed,
  textParam,
} from './signature.ts';
import { capitalize, codePointLength, codePoints, splitLines, strip, toFixedEven } from './text.ts';
import {
  lengthOf,
  Markup,
  numberOf,
  orElse,
  type Runtime,
  Tuple,
  textOf,
  truthy,
  typeError,
  Undefined,
  type Value,
  valueError,
} from './values.ts';

function toInt(_: Runtime, value: Value, fallback: Param, base: Param): Value {
  if (value instanceof Undefined) value.fail();
  const text = textOf(value);
  const parsed = text === null ? null : parseDigits(strip(text, null, 'both'), intParam(base, 10));
  if (parsed !== null) return parsed;
  const number = numberOf(value) ?? floatOf(text ?? '');
  if (typeof number === 'bigint') return number;
  return number !== null && Number.isFinite(number) ? BigInt(Math.trunc(number)) : orElse(fallback, 0n);
}

function parseDigits(text: string, base: number): bigint | null {
  const [, sign, digits = ''] = /^([-+]?)(\w{1,4300})$/.exec(text.replace(/(?<=\w)_(?=\w)/g, '')) ?? [];
  const body = digits.toLowerCase().replace({ 2: /^0b/, 8: /^0o/, 16: /^0x/ }[base] ?? /^$/, '');
  const values = Array.from(body, (digit) => Number.parseInt(digit, 36));
  if (body === '' || values.some((value) => !(value < base))) return null;
  const magnitude = values.reduce((sum, value) => sum * BigInt(base) + BigInt(value), 0n);
  return sign === '-' ? -magnitude : magnitude;
}

/** Python's `float(text)`; null where it would raise. */
function floatOf(source: string): number | null {
  const text = strip(source, null, 'both').replace(/(?<=\d)_(?=\d)/g, '');
  if (/^[-+]?(\d+(?:\.\d*)?|\.\d+)(e[-+]?\d+)?$/i.test(text)) return Number(text);
  const [, sign, infinity] = /^([-+]?)(?:(inf(?:inity)?)|nan)$/i.exec(text) ?? [];
  if (sign === undefined) return null;
  return infinity ? Number(`${sign}Infinity`) : Number.NaN;
}

function toFloat(_: Runtime, value: Value, fallback: Param): Value {
  if (value instanceof Undefined) value.fail();
  const number = numberOf(value) ?? floatOf(textOf(value) ?? '');
  return number === null ? orElse(fallback, 0) : Number(number);
}

function round(_: Runtime, value: Value, precision: Param, method: Param): Value {
  const [number, digits, how] = [numberOf(value), intParam(precision, 0), textParam(method, 'common')];
  if (value instanceof Undefined) value.fail();
  if (number === null) return typeError('round needs a number');
  if (Math.abs(digits) > 99) return valueError('round takes at most 99 digits');
  const scaled = (x: number, power: number) => (power < 0 ? x / 10 ** -power : x * 10 ** power);
  if (how === 'ceil') return scaled(Math.ceil(scaled(Number(number), digits)), -digits);
  if (how === 'floor') return scaled(Math.floor(scaled(Number(number), digits)), -digits);
  if (how !== 'common') return valueError('method must be common, ceil or floor');
  if (typeof number === 'number' && !Number.isFinite(number)) return number;
  if (digits >= 0) return typeof number === 'bigint' ? number : Number(toFixedEven(number, digits));
  const rounded = BigInt(toFixedEven(scaled(Number(number), digits), 0)) * 10n ** BigInt(-digits);
  return typeof number === 'bigint' ? rounded : Number(rounded);
}

function indent(runtime: Runtime, value: Value, width: Param, isFirst: Param, isBlank: Param): Value {
  const margin = textOf(width) ?? ' '.repeat(Math.min(Math.max(intParam(width, 4), 0), 1000));
  const lines = splitLines(`${textParam(value)}\n`, false);
  runtime.allocate(lines.reduce((sum, line) => sum + line.length + margin.length + 1, 0));
  const hasMargin = (line: string, i: number) => (i === 0 ? isTrue(isFirst) : isTrue(isBlank) || line !== '');
  return lines.map((line, i) => (hasMargin(line, i) ? margin + line : line)).join('\n');
}

function truncate(_: Runtime, value: Value, length: Param, isCut: Param, end: Param, leeway: Param): Value {
  const [limit, tail] = [intParam(length, 255), textParam(end, '...')];
  if (lengthOf(value) <= limit + intParam(leeway ?? undefined, 5)) return value;
  const kept = codePoints(textParam(value))
    .slice(0, Math.max(limit - codePointLength(tail), 0))
    .join('');
  const lastSpace = kept.lastIndexOf(' ');
  return (isTrue(isCut) || lastSpace < 0 ? kept : kept.slice(0, lastSpace)) + tail;
}

function json(
  runtime: Runtime,
  value: Value,
  isAscii: Param,
  indentation: Param,
  separators: Param,
  isSorted: Param,
): Value {
  const blanks = () => ' '.repeat(Math.min(Math.max(intParam(indentation), 0), 100));
  const width = textOf(indentation) ?? (indentation == null ? null : blanks());
  const given = separators instanceof Tuple ? separators.items : separators;
  const pair = Array.isArray(given) ? given : [width === null ? ', ' : ',', ': '];
  const options: JsonOptions = {
    isAscii: isTrue(isAscii),
    indent: width,
    separators: [textParam(pair[0]), textParam(pair[1])],
    isSorted: isTrue(isSorted),
  };
  return toJson(value, options, runtime);
}

function absolute(_: Runtime, value: Value): Value {
  if (value instanceof Undefined) value.fail();
  const number = numberOf(value) ?? typeError('bad operand type for abs()');
  return number < 0 ? -number : number;
}

const format: Method<Value> = (runtime, value, args, kwargs) => {
  if (args.length > 0 && kwargs.size > 0) {
    return typeError("can't handle positional and keyword arguments at the same time");
  }
  return percentFormat(
    printed(value, runtime),
    kwargs.size > 0 ? new Map(kwargs) : new Tuple([...args]),
    runtime,
  );
};

function perCharacter(run: (text: string) => Value): Entry<Value> {
  return [
    '',
    (runtime, value) => {
      const text = printed(value, runtime);
      runtime.charge(text.length);
      return run(text);
    },
  ];
}

const count: Entry<Value> = ['', (_, value) => BigInt(lengthOf(value))];
const escaped: Entry<Value> = ['', (runtime, value) => escapeHtml(value, runtime)];
const orDefault: Entry<Value> = [
  'default_value? boolean?',
  (_, value, fallback: Param, isFalsyToo: Param) =>
    value instanceof Undefined || (isTrue(isFalsyToo) && !truthy(value)) ? orElse(fallback, '') : value,
];

export const FILTERS: ReadonlyMap<string, Method<Value>> = methodTable<Value>({
  ...SEQUENCE_FILTERS,
  abs: ['', absolute],
  attr: ['name', (_, value, name) => attributeOf(value, textParam(name))],
  capitalize: ['', (runtime, value) => capitalize(printed(value, runtime))],
  center: [
    'width?',
    (runtime, value, width: Param) =>
      justify(runtime, printed(value, runtime), intParam(width, 80), ' ', centered),
  ],
  count,
  d: orDefault,
  default: orDefault,
  e: escaped,
  escape: escaped,
  float: ['default?', toFloat],
  forceescape: ['', (runtime, value) => escapeHtml(printed(value, runtime), runtime)],
  format,
  indent: ['width? first? blank?', indent],
  int: ['default? base?', toInt],
  length: count,
  lower: ['', (runtime, value) => printed(value, runtime).toLowerCase()],
  replace: [
    'old new count?',
    (runtime, value, old, by, limit: Param) => {
      const [text, from, to] = [value, old, by].map((part) => printed(part, runtime)) as [
        string,
        string,
        string,
      ];
      return replaceText(runtime, text, from, to, intParam(limit ?? undefined, -1));
    },
  ],
  round: ['precision? method?', round],
  safe: ['', (runtime, value) => new Markup(printed(value, runtime))],
  string: ['', (runtime, value) => (value instanceof Markup ? value : printed(value, runtime))],
  title: perCharacter((text) => text.replace(/[^-\s({[<]+/g, capitalize)),
  tojson: ['ensure_ascii? indent? separators? sort_keys?', json],
  trim: [
    'chars?',
    (runtime, value, chars: Param) => stripText(runtime, printed(value, runtime), chars, 'both'),
  ],
  truncate: ['length? killwords? end? leeway?', truncate],
  upper: ['', (runtime, value) => printed(value, runtime).toUpperCase()],
  wordcount: perCharacter((text) => BigInt(text.match(/[\p{L}\p{N}_]+/gu)?.length ?? 0)),
});
