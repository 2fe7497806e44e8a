/**
 * @file Hand-written scanners for the pre-tokenizer patterns of the Qwen and DeepSeek-V3 families: the same pieces as the
 * regular expressions (tests compare them on random text), several times faster. Knows nothing of tokens.
 */

/** Appends the end offset of every piece of a well-formed text to `ends`; pieces are not empty and leave no gap. */
export type Splitter = (text: string, ends: number[]) => void;

export const QWEN_PATTERNS = [
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
];

export const DEEPSEEK_V3_PATTERNS = [
  '\\p{N}{1,3}',
  '[一-龥぀-ゟ゠-ヿ]+',
  '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+',
];

/** The scanner for these patterns, if there is one. */
export function knownScanner(patterns: readonly string[]): Splitter | undefined {
  const isEqual = (known: readonly string[]): boolean =>
    known.length === patterns.length && known.every((pattern, i) => pattern === patterns[i]);
  if (isEqual(QWEN_PATTERNS)) return splitQwen;
  if (isEqual(DEEPSEEK_V3_PATTERNS)) return splitDeepseek;
  return undefined;
}

const LETTER = 1;
const MARK = 2;
const NUMBER = 4;
const PUNCTUATION_OR_SYMBOL = 8;
const WHITE_SPACE = 16;
/** The characters of DeepSeek's second pattern: han of the first Unicode block version, hiragana, katakana. */
const HAN_OR_KANA = 32;
/** Neither letter, number nor white space: Qwen's class of punctuation, marks, controls and the rest. */
const OTHER = 64;
/** Set in every filled entry, so 0 means: not looked up yet. */
const FILLED = 128;

const SPACE = 0x20;
const APOSTROPHE = 0x27;
/** Matches s without regard to case. */
const LONG_S = 0x17f;

/** Code point -> class bits, filled as characters are met. Pages never touched cost no memory. */
const classes = new Uint8Array(0x110000);

function classify(char: number): number {
  const text = String.fromCodePoint(char);
  let bits = FILLED;
  if (/\p{L}/u.test(text)) bits |= LETTER;
  else if (/\p{M}/u.test(text)) bits |= MARK;
  else if (/\p{N}/u.test(text)) bits |= NUMBER;
  else if (/[\p{P}\p{S}]/u.test(text)) bits |= PUNCTUATION_OR_SYMBOL;
  else if (/\p{White_Space}/u.test(text)) bits |= WHITE_SPACE;
  if ((bits & (LETTER | NUMBER | WHITE_SPACE)) === 0) bits |= OTHER;
  if (/[一-龥぀-ゟ゠-ヿ]/u.test(text)) bits |= HAN_OR_KANA;
  classes[char] = bits;
  return bits;
}

/** The class bits of the character at `i`, 0 from `limit` on. The text is well-formed. */
function classAt(text: string, i: number, limit: number): number {
  if (i >= limit) return 0;
  const unit = text.charCodeAt(i);
  const char = unit >= 0xd800 && unit < 0xdc00 ? text.codePointAt(i)! : unit;
  return classes[char]! || classify(char);
}

/** How many UTF-16 units the character at `i` has. */
const numUnits = (text: string, i: number): number => {
  const unit = text.charCodeAt(i);
  return unit >= 0xd800 && unit < 0xdc00 ? 2 : 1;
};

/** The end of the run of characters with one of `bits` that begins at `i`. */
function endOfRun(text: string, i: number, limit: number, bits: number): number {
  while ((classAt(text, i, limit) & bits) !== 0) i += numUnits(text, i);
  return i;
}

const isLineBreak = (unit: number): boolean => unit === 0x0a || unit === 0x0d;

function endOfLineBreaks(text: string, i: number, limit: number): number {
  while (i < limit && isLineBreak(text.charCodeAt(i))) i++;
  return i;
}

/**
 * `\s*[\r\n]+|\s+(?!\S)|\s+` at white space: up to the last line break of the run if it has one; else the whole run at
 * the end of the text; else all but the last character, which goes with what follows, unless it is alone.
 */
function endOfWhiteSpace(text: string, start: number, limit: number): number {
  let afterLineBreak = start;
  let i = start;
  while ((classAt(text, i, limit) & WHITE_SPACE) !== 0) {
    if (isLineBreak(text.charCodeAt(i++))) afterLineBreak = i;
  }
  if (afterLineBreak > start) return afterLineBreak;
  return i === limit || i === start + 1 ? i : i - 1;
}

/** `(?i:'s|'t|'re|'ve|'m|'ll|'d)` at the apostrophe at `i`: its end, or `i` where it does not match. */
function endOfContraction(text: string, i: number): number {
  const first = text.charCodeAt(i + 1);
  if (first === LONG_S) return i + 2;
  // Setting bit 5 makes an ASCII capital lower case, and turns no other character into one of these letters.
  const second = text.charCodeAt(i + 2) | 0x20;
  switch (first | 0x20) {
    case 0x73: // s
    case 0x74: // t
    case 0x6d: // m
    case 0x64: // d
      return i + 2;
    case 0x72: // re
    case 0x76: // ve
      return second === 0x65 ? i + 3 : i;
    case 0x6c: // ll
      return second === 0x6c ? i + 3 : i;
    default:
      return i;
  }
}

function splitQwen(text: string, ends: number[]): void {
  const limit = text.length;
  let i = 0;
  while (i < limit) {
    const bits = classAt(text, i, limit);
    const unit = text.charCodeAt(i);
    const next = i + numUnits(text, i);
    const nextBits = classAt(text, next, limit);
    const contractionEnd = unit === APOSTROPHE ? endOfContraction(text, i) : i;
    if (contractionEnd > i) i = contractionEnd;
    else if ((bits & NUMBER) !== 0) i = next;
    else if ((bits & LETTER) !== 0 || ((nextBits & LETTER) !== 0 && !isLineBreak(unit))) {
      i = endOfRun(text, next, limit, LETTER);
    } else if ((bits & OTHER) !== 0 || (unit === SPACE && (nextBits & OTHER) !== 0)) {
      i = endOfLineBreaks(text, endOfRun(text, next, limit, OTHER), limit);
    } else i = endOfWhiteSpace(text, i, limit);
    ends.push(i);
  }
}

/** The three patterns, each inside the pieces of the one before: numbers by threes, runs of han and kana, and what is between. */
function splitDeepseek(text: string, ends: number[]): void {
  const limit = text.length;
  const kindAt = (i: number): number => classAt(text, i, limit) & (NUMBER | HAN_OR_KANA);
  let i = 0;
  while (i < limit) {
    const kind = kindAt(i);
    const maxChars = kind === NUMBER ? 3 : limit;
    let end = i;
    for (let n = 0; n < maxChars && end < limit && kindAt(end) === kind; n++) end += numUnits(text, end);
    if (kind === NUMBER) ends.push(end);
    else splitByThirdPattern(text, i, end, ends);
    i = end;
  }
}

/** DeepSeek's third pattern in text[start, limit), which has no numbers; the pattern sees only that. */
function splitByThirdPattern(text: string, start: number, limit: number, ends: number[]): void {
  let i = start;
  let isGap = false;
  while (i < limit) {
    const bits = classAt(text, i, limit);
    const unit = text.charCodeAt(i);
    const next = i + numUnits(text, i);
    const nextBits = classAt(text, next, limit);
    const isPunctuation = (bits & PUNCTUATION_OR_SYMBOL) !== 0;
    let end = i;
    if (isPunctuation && unit < 0x80 && isAsciiLetter(text, next, limit)) {
      end = next;
      while (isAsciiLetter(text, end, limit)) end++;
    } else if (
      (bits & (LETTER | MARK)) !== 0 ||
      ((nextBits & (LETTER | MARK)) !== 0 && !isPunctuation && !isLineBreak(unit))
    ) {
      end = endOfRun(text, next, limit, LETTER | MARK);
    } else if (isPunctuation || (unit === SPACE && (nextBits & PUNCTUATION_OR_SYMBOL) !== 0)) {
      end = endOfLineBreaks(text, endOfRun(text, next, limit, PUNCTUATION_OR_SYMBOL), limit);
    } else if ((bits & WHITE_SPACE) !== 0) {
      end = endOfWhiteSpace(text, i, limit);
    }
    // Characters that nothing matches (controls, unassigned) are one piece up to the next match.
    if (end > i && isGap) ends.push(i);
    isGap = end === i;
    i = isGap ? next : end;
    if (!isGap) ends.push(i);
  }
  if (isGap) ends.push(limit);
}

function isAsciiLetter(text: string, i: number, limit: number): boolean {
  const letter = text.charCodeAt(i) | 0x20;
  return i < limit && letter >= 0x61 && letter <= 0x7a;
}
