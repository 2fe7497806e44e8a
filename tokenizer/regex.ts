/**
 * @file Turns a regular expression of tokenizer.json, which has Oniguruma's syntax and semantics, into a JavaScript one
 * that matches exactly the same. A construct without an exact counterpart is an error, never an approximation.
 *
 * Oniguruma (UTF-8, its default syntax) differs from JavaScript in: `\s` is Unicode White_Space (U+0085 in, U+FEFF out),
 * `\d` is \p{Nd}, `.` excludes only \n, `(?i:...)` folds case by Unicode, classes nest and intersect, `*+` is possessive. Every
 * character is written as an escape, so JavaScript's own syntax characters cannot appear by accident. A possessive x++ and an atomic
 * (?>x) are a look-ahead that captures, and what it captured: engines never look into a look-ahead for another way.
 */
import { TokenizerError } from './errors.ts';
import { describe } from './json.ts';

/** Far above any real pattern, and low enough that reading and compiling takes almost no time. */
const MAX_LENGTH = 10_000;
const MAX_DEPTH = 50;
/** Of the ways in which the body of a repetition can match, for all its rounds together, as a power of two. */
const MAX_WAYS_LOG2 = 12;
const WHITE_SPACE = '\\p{White_Space}';

/** General categories; other property names are tried as scripts. */
const GENERAL_CATEGORIES = new Set(
  'L Lu Ll Lt LC Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp C Cc Cf Cn Co'.split(
    ' ',
  ),
);

const CONTROL_ESCAPES: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, a: 7, e: 27 };

/** `{,n}` is Oniguruma's `{0,n}`; any other brace is a literal. */
const QUANTIFIER = /[*+?]|\{(?:\d+,?\d*|,(\d+))\}/y;

/** The letters outside ASCII that fold to an ASCII letter: long s and the Kelvin sign. */
const EXTRA_CASES: Readonly<Record<string, number>> = { s: 0x17f, k: 0x212a };

/** Oniguruma lets these sequences match one ligature (sharp s, U+FB00 to U+FB06) when case is ignored. */
const MULTI_CHAR_FOLDS = new Set(['ss', 'ff', 'fi', 'fl', 'st']);

/**
 * @param pattern an Oniguruma pattern.
 * @param where the field it comes from, for error messages.
 * @returns a global RegExp that works on well-formed strings.
 * @throws TokenizerError naming the construct that is malformed or has no exact counterpart.
 */
export function compileOniguruma(pattern: string, where: string): RegExp {
  if (pattern.length > MAX_LENGTH) {
    throw new TokenizerError(
      `${where} has ${pattern.length} characters; supported: patterns of at most ${MAX_LENGTH}`,
    );
  }
  const source = new PatternReader(pattern, where).read();
  try {
    const regex = new RegExp(source, 'gv');
    // Engines compile on first use, separately for one-byte and two-byte strings; a pattern that is too large fails only then.
    regex.test('a');
    regex.test('\u4e00');
    regex.lastIndex = 0;
    return regex;
  } catch (error) {
    throw new TokenizerError(
      `${where} is ${describe(pattern)}, which the JavaScript engine rejects: ${engineReason(error)}; ` +
        'supported: patterns that it can compile',
    );
  }
}

/** An engine's error message without the pattern, which may be huge. */
export const engineReason = (error: unknown): string =>
  describe(error instanceof Error ? error.message.split(': ').at(-1) : error);

const escapeChar = (char: number): string => `\\u{${char.toString(16)}}`;

/** A pattern that matches `text` itself. */
export function escapeText(text: string): string {
  return Array.from(text, (char) => `\\x{${char.codePointAt(0)!.toString(16)}}`).join('');
}

/** A recursive-descent reader; each method reads one construct and returns its JavaScript spelling. */
class PatternReader {
  private at = 0;
  private depth = 0;
  private numAtomic = 0;
  /** In how many ways what was read so far can match the same text at most, as a power of two. */
  private waysLog2 = 0;
  private readonly pattern: string;
  private readonly where: string;

  constructor(pattern: string, where: string) {
    this.pattern = pattern;
    this.where = where;
  }

  read(): string {
    const source = this.alternatives(false);
    if (this.at < this.pattern.length) throw this.error('an unmatched )');
    return source;
  }

  /** Reads up to the end or a closing bracket, which the caller reads. */
  private alternatives(ignoreCase: boolean): string {
    if (++this.depth > MAX_DEPTH) throw this.error(`more than ${MAX_DEPTH} nested groups`);
    let source = '';
    let previousLetter = '';
    while (this.at < this.pattern.length && this.peek() !== ')') {
      const char = this.peek();
      if (char === '|') {
        this.at++;
        this.waysLog2++;
        source += '|';
        previousLetter = '';
        continue;
      }
      const isLetter = /[A-Za-z]/.test(char);
      if (ignoreCase && isLetter && MULTI_CHAR_FOLDS.has((previousLetter + char).toLowerCase())) {
        throw this.error(
          `"${previousLetter}${char}" without regard to case, which Oniguruma also matches with a ligature`,
        );
      }
      const waysBefore = this.waysLog2;
      source += this.repeated(this.atom(ignoreCase), waysBefore);
      previousLetter = isLetter ? char : '';
    }
    this.depth--;
    return source;
  }

  private atom(ignoreCase: boolean): string {
    const char = this.next();
    switch (char) {
      case '(':
        return this.group(ignoreCase);
      case '[':
        return this.characterClass(ignoreCase);
      case '.':
        return '[^\\n]';
      case '^':
      case '$':
        throw this.error(`the anchor ${char}`);
      case '\\': {
        const set = this.escape(ignoreCase);
        return typeof set === 'string' ? set : this.literal(set, ignoreCase);
      }
      case '*':
      case '+':
      case '?':
      case '{':
        this.at--;
        if (this.match(QUANTIFIER) !== null) throw this.error(`a ${char} with nothing to repeat`);
        this.at++;
        return escapeChar(0x7b);
      default:
        return this.literal(char.codePointAt(0)!, ignoreCase);
    }
  }

  private group(ignoreCase: boolean): string {
    let open = '(?:';
    let isCaseIgnored = ignoreCase;
    if (this.peek() === '?') {
      const kind = this.match(/\?(?:[:=!>]|<[=!]|-?i:)/y)?.[0];
      if (kind === undefined) throw this.error(`the group (${this.pattern.slice(this.at, this.at + 3)}`);
      if (kind === '?i:') isCaseIgnored = true;
      else if (kind === '?-i:') isCaseIgnored = false;
      else open = kind === '?>' ? '' : `(${kind}`;
    }
    const waysBefore = this.waysLog2;
    const body = this.alternatives(isCaseIgnored);
    if (this.next() !== ')') throw this.error('an unclosed (');
    // Only one way is tried inside a look-around.
    if (open !== '(?:') this.waysLog2 = waysBefore;
    return open === '' ? this.atomic(body) : `${open}${body})`;
  }

  /** An atom with the quantifier behind it. `waysBefore`: those of what is before the atom. */
  private repeated(atom: string, waysBefore: number): string {
    const found = this.match(QUANTIFIER);
    if (found === null) return atom;
    this.repeatWays(found[0], waysBefore);
    let quantifier = found[1] === undefined ? found[0] : `{0,${found[1]}}`;
    const isBraced = quantifier.startsWith('{');
    if (!isBraced && this.peek() === '?') {
      this.at++;
      quantifier += '?';
    } else if (!isBraced && this.peek() === '+') {
      this.at++;
      this.waysLog2 = waysBefore;
      return this.atomic(atom + quantifier);
    }
    const stacked = this.match(QUANTIFIER);
    if (stacked !== null) throw this.error(`the quantifier ${found[0]}${stacked[0]} (stacked)`);
    return atom + quantifier;
  }

  /** Where each round of a repetition can match in several ways, an engine may try all combinations, forever. */
  private repeatWays(quantifier: string, waysBefore: number): void {
    const [, least, comma, most] = /^\{(\d*)(,?)(\d*)\}$/.exec(quantifier) ?? [];
    const isExact = least !== undefined && comma === '';
    const max =
      quantifier === '?' ? 1 : isExact ? Number(least) : most ? Number(most) : Number.POSITIVE_INFINITY;
    const inside = this.waysLog2 - waysBefore;
    if (inside > 0 && max > 1 && inside * max > MAX_WAYS_LOG2) {
      throw this.error(`a repetition of what can match in several ways (${quantifier})`);
    }
    this.waysLog2 += isExact ? inside * (max - 1) : max > 64 ? 64 : max * (inside + 1);
  }

  /** What matches as `source` does the first time, and is not tried in another way. */
  private atomic(source: string): string {
    const name = `atomic${this.numAtomic++}`;
    return `(?=(?<${name}>${source}))\\k<${name}>`;
  }

  /** A class after its [, with nesting and &&. */
  private characterClass(ignoreCase: boolean): string {
    if (++this.depth > MAX_DEPTH) throw this.error(`more than ${MAX_DEPTH} nested groups`);
    const isNegated = this.peek() === '^';
    if (isNegated) this.at++;
    if (this.peek() === ']') throw this.error('a class that is empty or begins with ]');
    if (this.peek() === ':') throw this.error('a POSIX bracket');
    const operands: string[] = [];
    let items = '';
    for (;;) {
      if (this.pattern.startsWith('&&', this.at)) {
        this.at += 2;
        operands.push(items);
        items = '';
        continue;
      }
      const char = this.next();
      if (char === ']') break;
      items += char === '[' ? this.characterClass(ignoreCase) : this.classItem(char, ignoreCase);
    }
    this.depth--;
    operands.push(items);
    if (operands.includes('')) throw this.error('an empty side of && in a class');
    const content = operands.length === 1 ? items : operands.map((operand) => `[${operand}]`).join('&&');
    return `[${isNegated ? '^' : ''}${content}]`;
  }

  /** A character, range or escape inside a class. */
  private classItem(char: string, ignoreCase: boolean): string {
    const first = char === '\\' ? this.escape(ignoreCase) : char.codePointAt(0)!;
    if (typeof first === 'string') return first;
    // A - makes a range only between two characters; at the end of the class it is a plain character.
    const isRange = this.peek() === '-' && this.pattern[this.at + 1] !== ']';
    if (!isRange) return this.classRange(first, first, ignoreCase);
    this.at++;
    const last = this.next();
    const end = last === '\\' ? this.escape(ignoreCase) : last.codePointAt(0)!;
    if (typeof end === 'string' || last === '[' || end < first) {
      throw this.error('a malformed range in a class');
    }
    return this.classRange(first, end, ignoreCase);
  }

  private classRange(first: number, last: number, ignoreCase: boolean): string {
    let source = first === last ? escapeChar(first) : `${escapeChar(first)}-${escapeChar(last)}`;
    if (!ignoreCase) return source;
    if (last > 0x7f) throw this.error('characters beyond ASCII in a class without regard to case');
    for (let char = first; char <= last; char++) source += otherCases(char);
    return source;
  }

  private literal(char: number, ignoreCase: boolean): string {
    if (!ignoreCase) return escapeChar(char);
    const text = String.fromCodePoint(char);
    if (char > 0x7f && /\p{Changes_When_Casemapped}/u.test(text)) {
      throw this.error(`${describe(text)} without regard to case`);
    }
    const others = otherCases(char);
    return others === '' ? escapeChar(char) : `[${escapeChar(char)}${others}]`;
  }

  /** What follows a backslash: a character code, or a set of characters in JavaScript's spelling. */
  private escape(ignoreCase: boolean): number | string {
    const char = this.next();
    const control = Object.hasOwn(CONTROL_ESCAPES, char) ? CONTROL_ESCAPES[char] : undefined;
    if (control !== undefined) return control;
    switch (char) {
      case 's':
        return WHITE_SPACE;
      case 'S':
        return `[^${WHITE_SPACE}]`;
      case 'd':
        return '\\p{Nd}';
      case 'D':
        return '\\P{Nd}';
      case 'p':
      case 'P':
        if (ignoreCase) throw this.error('a \\p{...} without regard to case');
        return this.property(char === 'P');
      case 'x':
        // Without braces \x80 and above would be single bytes of UTF-8.
        return this.hexEscape(this.peek() === '{' ? /\{([0-9A-Fa-f]{1,6})\}/y : /([0-7][0-9A-Fa-f])/y);
      case 'u':
        return this.hexEscape(/([0-9A-Fa-f]{4})/y);
    }
    if (/[A-Za-z0-9]/.test(char)) throw this.error(`the escape \\${char}`);
    return char.codePointAt(0)!;
  }

  private hexEscape(digits: RegExp): number {
    const found = this.match(digits);
    const char = Number.parseInt(found?.[1] ?? '', 16);
    if (!(char <= 0x10ffff)) throw this.error('a malformed \\x or \\u escape');
    return char;
  }

  private property(isNegated: boolean): string {
    const found = this.match(/\{(\^?)(\w+)\}/y);
    if (found === null) throw this.error('a malformed \\p{...}');
    const name = found[2]!;
    const letter = isNegated !== (found[1] === '^') ? 'P' : 'p';
    if (GENERAL_CATEGORIES.has(name)) return `\\${letter}{${name}}`;
    const script = `\\${letter}{Script=${name}}`;
    try {
      new RegExp(script, 'v');
    } catch {
      throw this.error(
        `the property \\p{${name}} (supported: general categories such as L or Nd, and scripts)`,
      );
    }
    return script;
  }

  private peek(): string {
    return this.pattern[this.at] ?? '';
  }

  /** The next code point. */
  private next(): string {
    const char = this.pattern.codePointAt(this.at);
    if (char === undefined) throw this.error('a construct that is cut off');
    const text = String.fromCodePoint(char);
    this.at += text.length;
    return text;
  }

  /** Takes what a sticky pattern matches here. */
  private match(sticky: RegExp): RegExpExecArray | null {
    sticky.lastIndex = this.at;
    const found = sticky.exec(this.pattern);
    this.at += found?.[0].length ?? 0;
    return found;
  }

  private error(found: string): TokenizerError {
    return new TokenizerError(
      `${this.where} is ${describe(this.pattern)}, which has ${found} before position ${this.at}; supported: Oniguruma ` +
        'patterns of literals, classes, \\s \\d \\p{...}, groups, (?i:...), look-around and the quantifiers * + ? {n,m} *+ ++ ?+',
    );
  }
}

/** The other characters that match an ASCII letter when case is ignored, as escapes. */
function otherCases(char: number): string {
  const text = String.fromCharCode(char);
  if (!/[A-Za-z]/.test(text)) return '';
  const lower = text.toLowerCase();
  const extra = Object.hasOwn(EXTRA_CASES, lower) ? escapeChar(EXTRA_CASES[lower]!) : '';
  return escapeChar(char ^ 0x20) + extra;
}
