/** @file Python's view of text and numbers: white space, code points, repr, float formats. Knows nothing of templates. */

/** The inside of a character class: what `str.isspace` and Python's `\s` accept (JavaScript's `\s` differs). */
export const PYTHON_SPACE =
  '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const SPACE_CHAR = new RegExp(`[${PYTHON_SPACE}]`);
const isAsciiSpace = (unit: number) => (unit >= 9 && unit <= 13) || (unit >= 28 && unit <= 32);
const isSpace = (char: string) => (char < '\x80' ? isAsciiSpace(char.charCodeAt(0)) : SPACE_CHAR.test(char));
const LINE_BREAK = '\\n\\r\\v\\f\\x1c-\\x1e\\x85\\u2028\\u2029';
const LINE_END = new RegExp(`\\r\\n|[${LINE_BREAK}]`, 'g');
const SPACES = new RegExp(`[${PYTHON_SPACE}]+`, 'g');

/** The code points of a string; a lone surrogate is one. */
export function codePoints(s: string): string[] {
  return /[\ud800-\udfff]/.test(s) ? Array.from(s) : s.split('');
}

/** Number of code points. */
export function codePointLength(s: string): number {
  return s.length - (s.match(/[\ud800-\udbff][\udc00-\udfff]/g)?.length ?? 0);
}

/** Python orders strings by code point, JavaScript by UTF-16 unit. */
export function compareText(a: string, b: string): number {
  let i = 0;
  const length = Math.min(a.length, b.length);
  while (i < length && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  if (i === length) return a.length - b.length;
  const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
  const isSurrogate = (unit: number) => unit >= 0xd800 && unit <= 0xdfff;
  if (isSurrogate(x) !== isSurrogate(y)) return isSurrogate(x) ? 1 : -1;
  return x - y;
}

/** `str.strip` and its halves; `chars` null means white space. */
export function strip(s: string, chars: string | null, sides: 'both' | 'left' | 'right'): string {
  const isWide = chars !== null && /[\ud800-\udfff]/.test(chars);
  const units: string | string[] = isWide ? Array.from(s) : s;
  const set = chars === null ? null : new Set(chars);
  const isCut = (unit: string) => (set ? set.has(unit) : isSpace(unit));
  let [start, end] = [0, units.length];
  if (sides !== 'right') while (start < end && isCut(units[start] as string)) start++;
  if (sides !== 'left') while (end > start && isCut(units[end - 1] as string)) end--;
  return typeof units === 'string' ? units.slice(start, end) : units.slice(start, end).join('');
}

/** `str.split()` without a separator; after `limit` cuts (negative: no limit) the rest stays as it is. */
export function splitSpaces(s: string, limit: number): string[] {
  const pieces: string[] = [];
  let rest = strip(s, null, 'left');
  if (limit < 0) return rest === '' ? [] : strip(rest, null, 'right').split(SPACES);
  for (; rest !== ''; limit--) {
    const at = limit > 0 ? rest.search(SPACE_CHAR) : -1;
    pieces.push(at < 0 ? rest : rest.slice(0, at));
    rest = at < 0 ? '' : strip(rest.slice(at), null, 'left');
  }
  return pieces;
}

/** `str.rsplit(None, limit)`. */
export function rsplitSpaces(s: string, limit: number): string[] {
  const reversed = (text: string) => codePoints(text).reverse().join('');
  return splitSpaces(reversed(s), limit).map(reversed).reverse();
}

/** `str.splitlines`. */
export function splitLines(s: string, keepEnds: boolean): string[] {
  const lines: string[] = [];
  let start = 0;
  for (const end of s.matchAll(LINE_END)) {
    const next = end.index + end[0].length;
    lines.push(s.slice(start, keepEnds ? next : end.index));
    start = next;
  }
  if (start < s.length) lines.push(s.slice(start));
  return lines;
}

/** `str.title`: the first letter of each run of letters is upper case, the others lower. */
export function titleCase(s: string): string {
  return s.replace(/\p{L}+/gu, (word) => capitalize(word));
}

export function capitalize(s: string): string {
  const first = String.fromCodePoint(...(s === '' ? [] : [s.codePointAt(0) as number]));
  return first.toUpperCase() + s.slice(first.length).toLowerCase();
}

const SHORT_ESCAPES: Record<string, string> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** `repr` of a str. */
export function reprText(s: string): string {
  const quote = s.includes("'") && !s.includes('"') ? '"' : "'";
  const escaped = s.replace(/[\\\p{C}\p{Z}]/gu, (char) => {
    if (char === ' ') return char;
    const hex = (char.codePointAt(0) as number).toString(16);
    if (hex.length <= 2) return SHORT_ESCAPES[char] ?? `\\x${hex.padStart(2, '0')}`;
    return hex.length <= 4 ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`;
  });
  return quote + (quote === "'" ? escaped.replaceAll("'", "\\'") : escaped) + quote;
}

/** `repr` of a float: always with a point or an exponent. */
export function reprFloat(x: number): string {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? 'nan' : x > 0 ? 'inf' : '-inf';
  if (x === 0) return Object.is(x, -0) ? '-0.0' : '0.0';
  const [mantissa = '', exponent = '0'] = x.toExponential().split('e');
  const power = Number(exponent);
  if (power < -4 || power >= 16) return `${mantissa}e${formatExponent(power)}`;
  const digits = x.toString();
  return digits.includes('.') ? digits : `${digits}.0`;
}

/** Sign and at least two digits, as C prints it. */
export function formatExponent(power: number): string {
  return (power < 0 ? '-' : '+') + String(Math.abs(power)).padStart(2, '0');
}

/** `'%.nf'`: `toFixed` (at most 99 digits) with exact ties to even, and without its exponent for large numbers. */
export function toFixedEven(x: number, numDigits: number): string {
  if (Math.abs(x) >= 1e21) return BigInt(x).toString() + (numDigits > 0 ? `.${'0'.repeat(numDigits)}` : '');
  const fixed = Math.abs(x).toFixed(numDigits);
  const exact = Math.abs(x).toFixed(100);
  const kept = exact.length - 100 + numDigits;
  const isTie = /^50*$/.test(exact.slice(kept));
  const truncated = numDigits === 0 ? exact.slice(0, kept - 1) : exact.slice(0, kept);
  const isEven = '02468'.includes(truncated.at(-1) as string);
  const sign = x < 0 || Object.is(x, -0) ? '-' : '';
  return sign + (isTie && isEven ? truncated : fixed);
}
