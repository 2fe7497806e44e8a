/** @file The methods of str, list, tuple and dict as tables. Methods that change a list or dict are not among them. */
import { braceFormat } from './format.ts';
import { type Entry, intParam, methodTable, type Param, textParam } from './signature.ts';
import {
  capitalize,
  codePointLength,
  codePoints,
  rsplitSpaces,
  splitLines,
  splitSpaces,
  strip,
  titleCase,
} from './text.ts';
import {
  chargeSearch,
  type Dict,
  equals,
  iterate,
  type Key,
  keyOf,
  orElse,
  type Runtime,
  repr,
  Tuple,
  typeError,
  type Value,
  View,
  valueError,
} from './values.ts';

function simple(run: (text: string) => Value): Entry<string> {
  return [
    '',
    (runtime, text) => {
      runtime.charge(text.length >> 2);
      return run(text);
    },
  ];
}
const allMatch = (pattern: RegExp) => simple((text) => pattern.test(text));

/** `text.strip(chars)`; the work counts by what is cut off. */
export function stripText(
  runtime: Runtime,
  text: string,
  chars: Param,
  sides: 'both' | 'left' | 'right',
): string {
  const stripped = strip(text, chars == null ? null : textParam(chars), sides);
  runtime.charge(text.length - stripped.length);
  return stripped;
}

function stripMethod(sides: 'both' | 'left' | 'right'): Entry<string> {
  return ['chars?', (runtime, text, chars: Param) => stripText(runtime, text, chars, sides)];
}

/** text[start:end], and how many code points come before it. */
function windowOf(text: string, start: Param, end: Param): { window: string; offset: number } {
  if (start == null && end == null) return { window: text, offset: 0 };
  const points = codePoints(text);
  const bound = (param: Param, fallback: number) => {
    const index = param == null ? fallback : intParam(param);
    return Math.min(Math.max(index < 0 ? index + points.length : index, 0), points.length);
  };
  const offset = bound(start, 0);
  return { window: points.slice(offset, bound(end, points.length)).join(''), offset };
}

/** `find` and similar methods: `find` returns UTF-16 offsets, the method gives code points. */
function searchMethod(find: (window: string, needle: string) => number, isError: boolean): Entry<string> {
  return [
    'sub start? end?',
    (runtime, text, sub, start: Param, end: Param) => {
      const { window, offset } = windowOf(text, start, end);
      chargeSearch(window, textParam(sub), runtime);
      const found = find(window, textParam(sub));
      if (found < 0) return isError ? valueError('substring not found') : -1n;
      return BigInt(offset + codePointLength(window.slice(0, found)));
    },
  ];
}

function affixMethod(matches: (text: string, affix: string) => boolean): Entry<string> {
  return [
    'affix start? end?',
    (_, text, affix, start: Param, end: Param) => {
      const { window } = windowOf(text, start, end);
      const affixes = affix instanceof Tuple ? affix.items : [affix];
      return affixes.some((item) => matches(window, textParam(item)));
    },
  ];
}

function partitionMethod(isFromRight: boolean): Entry<string> {
  return [
    'sep',
    (_, text, sep) => {
      const separator = textParam(sep);
      if (separator === '') return valueError('empty separator');
      const at = isFromRight ? text.lastIndexOf(separator) : text.indexOf(separator);
      if (at < 0) return new Tuple(isFromRight ? ['', '', text] : [text, '', '']);
      return new Tuple([text.slice(0, at), separator, text.slice(at + separator.length)]);
    },
  ];
}

function splitMethod(isFromRight: boolean): Entry<string> {
  return [
    'sep? maxsplit?',
    (runtime, text, sep: Param, maxSplit: Param) => {
      const limit = intParam(maxSplit, -1);
      if (sep == null) runtime.charge(text.length);
      if (sep == null) return (isFromRight ? rsplitSpaces : splitSpaces)(text, limit);
      const separator = textParam(sep);
      if (separator === '') return valueError('empty separator');
      chargeSearch(text, separator, runtime);
      const pieces = text.split(separator);
      runtime.charge(pieces.length);
      if (limit < 0 || pieces.length <= limit + 1) return pieces;
      const cut = isFromRight ? pieces.length - limit : limit;
      if (isFromRight) return [pieces.slice(0, cut).join(separator), ...pieces.slice(cut)];
      return [...pieces.slice(0, cut), pieces.slice(cut).join(separator)];
    },
  ];
}

/** `text.replace(old, replacement, count)`; a negative count means all. */
export function replaceText(
  runtime: Runtime,
  text: string,
  old: string,
  replacement: string,
  count: number,
): string {
  chargeSearch(text, old, runtime);
  if (old === '') runtime.charge(text.length);
  const pieces = old === '' ? ['', ...codePoints(text), ''] : text.split(old);
  const numReplaced = count < 0 ? pieces.length - 1 : Math.min(count, pieces.length - 1);
  runtime.charge(pieces.length);
  runtime.allocate(text.length + numReplaced * replacement.length);
  const tail = pieces.slice(numReplaced).join(old);
  return numReplaced === 0 ? tail : pieces.slice(0, numReplaced).join(replacement) + replacement + tail;
}

/** The texts joined by a separator. */
export function joinTexts(runtime: Runtime, separator: string, texts: readonly string[]): string {
  runtime.allocate(texts.reduce((sum, text) => sum + text.length + separator.length, 0));
  return texts.join(separator);
}

/** Pads to a width; `place` says how much of the missing space goes to the left. */
export function justify(
  runtime: Runtime,
  text: string,
  width: number,
  fill: string,
  place: (missing: number, width: number) => number,
): string {
  const missing = width - codePointLength(text);
  if (codePointLength(fill) !== 1) return typeError('The fill character must be exactly one character long');
  if (missing <= 0) return text;
  runtime.allocate(text.length + missing * fill.length);
  const left = place(missing, width);
  return fill.repeat(left) + text + fill.repeat(missing - left);
}

/** `str.center` puts the odd blank to the left only for odd widths. */
export const centered = (missing: number, width: number) => (missing >> 1) + (missing & width & 1);

function justifyMethod(place: (missing: number, width: number) => number): Entry<string> {
  return [
    'width fill?',
    (runtime, text, width, fill: Param) =>
      justify(runtime, text, intParam(width), textParam(fill, ' '), place),
  ];
}

function zeroFill(runtime: Runtime, text: string, width: Value): Value {
  const sign = /^[-+]/.exec(text)?.[0] ?? '';
  return (
    sign + justify(runtime, text.slice(sign.length), intParam(width) - sign.length, '0', (missing) => missing)
  );
}

function countText(runtime: Runtime, text: string, sub: Value, start: Param, end: Param): Value {
  const { window } = windowOf(text, start, end);
  const needle = textParam(sub);
  chargeSearch(window, needle, runtime);
  return BigInt(needle === '' ? codePointLength(window) + 1 : window.split(needle).length - 1);
}

export const isLower = (text: string) => /\p{Lowercase}/u.test(text) && !/[\p{Lu}\p{Lt}]/u.test(text);
export const isUpper = (text: string) => /\p{Uppercase}/u.test(text) && !/[\p{Ll}\p{Lt}]/u.test(text);

export const STR_METHODS = methodTable<string>({
  capitalize: simple(capitalize),
  casefold: simple((text) => text.toUpperCase().toLowerCase()),
  center: justifyMethod(centered),
  count: ['sub start? end?', countText],
  endswith: affixMethod((text, affix) => text.endsWith(affix)),
  find: searchMethod((text, sub) => text.indexOf(sub), false),
  format: (runtime, text, args, kwargs) => braceFormat(text, args, kwargs, runtime),
  index: searchMethod((text, sub) => text.indexOf(sub), true),
  isalnum: allMatch(/^[\p{L}\p{N}]+$/u),
  isalpha: allMatch(/^\p{L}+$/u),
  isascii: simple((text) => /^[\0-\x7f]*$/.test(text)),
  isdecimal: allMatch(/^\p{Nd}+$/u),
  isdigit: allMatch(/^[\p{Nd}\u00b2\u00b3\u00b9\u2070\u2074-\u2079\u2080-\u2089]+$/u),
  islower: simple(isLower),
  isnumeric: allMatch(/^\p{N}+$/u),
  isspace: simple((text) => text !== '' && strip(text, null, 'both') === ''),
  istitle: simple((text) => text === titleCase(text) && /[\p{Lu}\p{Lt}]/u.test(text)),
  isupper: simple(isUpper),
  join: [
    'iterable',
    (runtime, text, items) =>
      joinTexts(
        runtime,
        text,
        iterate(items, runtime).map((item) => textParam(item)),
      ),
  ],
  ljust: justifyMethod(() => 0),
  lower: simple((text) => text.toLowerCase()),
  lstrip: stripMethod('left'),
  partition: partitionMethod(false),
  removeprefix: [
    'prefix',
    (_, text, affix) => (text.startsWith(textParam(affix)) ? text.slice(textParam(affix).length) : text),
  ],
  removesuffix: [
    'suffix',
    (_, text, affix) =>
      text.endsWith(textParam(affix)) ? text.slice(0, text.length - textParam(affix).length) : text,
  ],
  replace: [
    'old new count?',
    (runtime, text, old, by, count: Param) =>
      replaceText(runtime, text, textParam(old), textParam(by), intParam(count, -1)),
  ],
  rfind: searchMethod((text, sub) => text.lastIndexOf(sub), false),
  rindex: searchMethod((text, sub) => text.lastIndexOf(sub), true),
  rjust: justifyMethod((missing) => missing),
  rpartition: partitionMethod(true),
  rsplit: splitMethod(true),
  rstrip: stripMethod('right'),
  split: splitMethod(false),
  splitlines: ['keepends?', splitLinesOf],
  startswith: affixMethod((text, affix) => text.startsWith(affix)),
  strip: stripMethod('both'),
  swapcase: simple((text) =>
    text.replace(/\p{L}/gu, (c) => (c === c.toUpperCase() ? c.toLowerCase() : c.toUpperCase())),
  ),
  title: simple(titleCase),
  upper: simple((text) => text.toUpperCase()),
  zfill: ['width', zeroFill],
});

function positions(runtime: Runtime, items: readonly Value[], value: Value): number[] {
  runtime.charge(items.length);
  return items.flatMap((item, i) => (equals(item, value, runtime) ? [i] : []));
}

function indexOf(runtime: Runtime, items: readonly Value[], value: Value, start: Param, end: Param): Value {
  const bound = (param: Param, fallback: number) => {
    const index = intParam(param, fallback);
    return index < 0 ? index + items.length : index;
  };
  const [from, to] = [bound(start, 0), bound(end, items.length)];
  const found = positions(runtime, items, value).find((i) => i >= from && i < to);
  return found === undefined ? valueError(`${repr(value, runtime)} is not in list`) : BigInt(found);
}

function splitLinesOf(runtime: Runtime, text: string, keepEnds: Param): Value {
  runtime.charge(text.length >> 2);
  return splitLines(text, keepEnds === true);
}

/** Only lists have `copy`. */
export const LIST_METHODS = methodTable<Value[]>({
  copy: ['', (_, items) => items],
  count: ['value', (runtime, items, value) => BigInt(positions(runtime, items, value).length)],
  index: ['value start? end?', indexOf],
});

/** The pairs of a dict as `dict.items()` and the `items` filter give them. */
export function pairsOf(runtime: Runtime, dict: Value): Tuple[] {
  if (!(dict instanceof Map)) return typeError('Can only get item pairs from a mapping.');
  runtime.charge(dict.size);
  return Array.from(dict as ReadonlyMap<Key, Value>, (pair) => new Tuple([...pair]));
}

export const DICT_METHODS = methodTable<Dict>({
  copy: ['', (_, dict) => dict],
  get: [
    'key default?',
    (_, dict, key, fallback: Param) => orElse(dict.get(keyOf(key)), orElse(fallback, null)),
  ],
  items: ['', (runtime, dict) => new View('dict_items', pairsOf(runtime, dict))],
  keys: ['', (runtime, dict) => new View('dict_keys', iterate(dict, runtime))],
  values: [
    '',
    (runtime, dict) =>
      new View(
        'dict_values',
        pairsOf(runtime, dict).map(({ items }) => items[1] as Value),
      ),
  ],
});
