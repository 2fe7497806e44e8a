/**
 * @file Regular expressions, written as in JavaScript with the flag `u`, to expressions. Supported is what a finite
 * automaton can do: characters, classes with `\d \w \s \p{…}`, groups, alternatives, quantifiers, and anchors at the ends.
 */
import { InvalidInputError } from '../errors.ts';
import {
  type CodeRange,
  characters,
  choice,
  complementRanges,
  EMPTY,
  type Expression,
  repeat,
  sequence,
  words,
} from './expression.ts';

const MAX_PATTERN_LENGTH = 20_000;
const MAX_GROUP_DEPTH = 200;
/** More turns than any answer has. The automaton counts them without copies. */
const MAX_TURNS = 1_000_000;

const DIGITS: readonly CodeRange[] = [[0x30, 0x39]];
const WORD: readonly CodeRange[] = [
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
];
const SPACE: readonly CodeRange[] = [
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const LINE_ENDS: readonly CodeRange[] = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
];
const CLASS_ESCAPES: Readonly<Record<string, readonly CodeRange[]>> = { d: DIGITS, w: WORD, s: SPACE };
const CONTROL_ESCAPES: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, 0: 0 };

export const ANY_CHARACTER = characters([0, 0x10ffff]);

/** One alternative of the whole pattern. */
interface Alternative {
  readonly body: Expression;
  readonly isAnchoredAtStart: boolean;
  readonly isAnchoredAtEnd: boolean;
}

/**
 * @param pattern without slashes and flags
 * @param where names the pattern in error messages
 * @param mode `whole`: the whole text must match, so anchors change nothing; `search`: a match anywhere in the text is enough
 * @throws InvalidInputError naming the position of what is malformed or not supported.
 */
export function parseRegex(pattern: string, where: string, mode: 'whole' | 'search'): Expression {
  const alternatives = new RegexParser(pattern, where).parse();
  const rest = repeat(ANY_CHARACTER, 0, Number.POSITIVE_INFINITY);
  return choice(
    ...alternatives.map(({ body, isAnchoredAtStart, isAnchoredAtEnd }) =>
      mode === 'whole'
        ? body
        : sequence(isAnchoredAtStart ? EMPTY : rest, body, isAnchoredAtEnd ? EMPTY : rest),
    ),
  );
}

class RegexParser {
  private readonly chars: readonly string[];
  private readonly where: string;
  private at = 0;
  private depth = 0;

  constructor(pattern: string, where: string) {
    this.where = where;
    if (typeof pattern !== 'string') throw new InvalidInputError(`${where} must be a string.`);
    this.chars = [...pattern];
    if (this.chars.length > MAX_PATTERN_LENGTH) {
      throw new InvalidInputError(
        `${where} has ${this.chars.length} characters; at most ${MAX_PATTERN_LENGTH} are possible.`,
      );
    }
  }

  parse(): Alternative[] {
    const out: Alternative[] = [];
    do {
      const isAnchoredAtStart = this.take('^');
      const body = this.items();
      const isAnchoredAtEnd = this.take('$');
      out.push({ body, isAnchoredAtStart, isAnchoredAtEnd });
    } while (this.take('|'));
    if (this.at < this.chars.length) {
      throw this.error(this.peek() === ')' ? 'a ")" without its "("' : `"${this.peek()}" after the end`);
    }
    return out;
  }

  private alternatives(): Expression {
    const items = [this.items()];
    while (this.take('|')) items.push(this.items());
    return items.length === 1 ? items[0]! : choice(...items);
  }

  private items(): Expression {
    const items: Expression[] = [];
    for (let char = this.peek(); char !== undefined && char !== '|' && char !== ')'; char = this.peek()) {
      if (char === '$' && this.depth === 0) break;
      items.push(this.quantified(this.atom()));
    }
    return items.length === 1 ? items[0]! : sequence(...items);
  }

  private quantified(item: Expression): Expression {
    const bounds = this.quantifier();
    if (bounds === undefined) return item;
    // Lazy or not makes no difference to which texts match.
    this.take('?');
    if (this.quantifier() !== undefined) throw this.error('a quantifier after a quantifier; use a group');
    return repeat(item, ...bounds);
  }

  private quantifier(): [min: number, max: number] | undefined {
    if (this.take('*')) return [0, Number.POSITIVE_INFINITY];
    if (this.take('+')) return [1, Number.POSITIVE_INFINITY];
    if (this.take('?')) return [0, 1];
    if (!this.take('{')) return undefined;
    const min = this.integer();
    let max = min;
    if (this.take(',')) max = this.peek() === '}' ? Number.POSITIVE_INFINITY : this.integer();
    if (!this.take('}')) throw this.error('"{" without "}"; a brace as text is written \\{');
    if (max < min) throw this.error(`{${min},${max}}, whose numbers are out of order`);
    return [min, max];
  }

  private integer(): number {
    let digits = '';
    while (/^[0-9]$/.test(this.peek() ?? '')) digits += this.chars[this.at++];
    if (digits === '') throw this.error('"{" without a number; a brace as text is written \\{');
    if (Number(digits) > MAX_TURNS) throw this.error(`${digits} turns; at most ${MAX_TURNS} are possible`);
    return Number(digits);
  }

  private atom(): Expression {
    const char = this.chars[this.at++]!;
    switch (char) {
      case '(':
        return this.group();
      case '[':
        return this.characterClass();
      case '.':
        return characters(...complementRanges(LINE_ENDS));
      case '\\':
        return characters(...this.escape(false));
      case '^':
      case '$':
        throw this.error(
          `"${char}" inside the pattern; anchors are possible only at its ends or those of its outermost alternatives`,
        );
      case '*':
      case '+':
      case '?':
      case '{':
        throw this.error(`"${char}" with nothing before it to repeat; as text it is written \\${char}`);
      case ']':
      case '}':
        throw this.error(`a single "${char}"; as text it is written \\${char}`);
      default:
        return words(char);
    }
  }

  private group(): Expression {
    if (++this.depth > MAX_GROUP_DEPTH) {
      throw this.error(`groups nested deeper than ${MAX_GROUP_DEPTH}`);
    }
    if (this.take('?')) {
      const name = /^<[A-Za-z_$][\w$]*>/.exec(this.chars.slice(this.at, this.at + 100).join(''));
      if (name) this.at += name[0].length;
      else if (!this.take(':')) {
        throw this.error('lookaround or flags, which are not supported; plain groups are (…) and (?:…)');
      }
    }
    const body = this.alternatives();
    if (!this.take(')')) throw this.error('"(" without ")"');
    this.depth--;
    return body;
  }

  private characterClass(): Expression {
    const isNegated = this.take('^');
    const ranges: CodeRange[] = [];
    while (!this.take(']')) {
      const first = this.classMember();
      if (this.peek() === '-' && this.chars[this.at + 1] !== ']' && this.chars[this.at + 1] !== undefined) {
        this.at++;
        const last = this.classMember();
        const [from, to] = [single(first), single(last)];
        if (from === undefined || to === undefined)
          throw this.error('a range that does not go from character to character');
        if (from > to) throw this.error('a range whose ends are out of order');
        ranges.push([from, to]);
      } else {
        ranges.push(...first);
      }
    }
    return characters(...(isNegated ? complementRanges(ranges) : ranges));
  }

  private classMember(): readonly CodeRange[] {
    const char = this.chars[this.at++];
    if (char === undefined) throw this.error('"[" without "]"');
    if (char === '\\') return this.escape(true);
    const code = char.codePointAt(0)!;
    return [[code, code]];
  }

  private escape(isInClass: boolean): readonly CodeRange[] {
    const char = this.chars[this.at++];
    if (char === undefined) throw this.error('a "\\" at the end');
    const ranges = CLASS_ESCAPES[char.toLowerCase()];
    if (ranges !== undefined) return char === char.toLowerCase() ? ranges : complementRanges(ranges);
    if (char === 'p' || char === 'P') return this.property(char === 'P');
    const control = CONTROL_ESCAPES[char];
    if (control !== undefined && !(char === '0' && /^[0-9]$/.test(this.peek() ?? '')))
      return [[control, control]];
    if (isInClass && char === 'b') return [[8, 8]];
    if (char === 'x') return this.code(2);
    if (char === 'u') return this.unicode();
    if (/^[\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e ]$/.test(char))
      return [[char.charCodeAt(0), char.charCodeAt(0)]];
    throw this.error(
      /^[0-9kbB]$/.test(char)
        ? `\\${char}, which is a backreference or a word boundary; neither is supported`
        : `\\${char}, which means nothing here`,
    );
  }

  private unicode(): readonly CodeRange[] {
    if (this.take('{')) {
      const end = this.chars.indexOf('}', this.at);
      const digits = this.chars.slice(this.at, end).join('');
      if (end < 0 || !/^[0-9a-fA-F]{1,6}$/.test(digits))
        throw this.error('\\u{…} without a hexadecimal number');
      const code = Number.parseInt(digits, 16);
      if (code > 0x10ffff) throw this.error(`\\u{${digits}}, which is beyond Unicode`);
      this.at = end + 1;
      return [[code, code]];
    }
    const [[high]] = this.code(4);
    const low = /^\\u(d[c-f][0-9a-f]{2})$/i.exec(this.chars.slice(this.at, this.at + 6).join(''));
    if (high < 0xd800 || high > 0xdbff || low === null) return [[high, high]];
    this.at += 6;
    const code = 0x10000 + ((high - 0xd800) << 10) + (Number.parseInt(low[1]!, 16) - 0xdc00);
    return [[code, code]];
  }

  private code(numDigits: number): [CodeRange] {
    const digits = this.chars.slice(this.at, this.at + numDigits).join('');
    if (!/^[0-9a-fA-F]+$/.test(digits) || digits.length !== numDigits) {
      throw this.error(`an escape that needs ${numDigits} hexadecimal digits`);
    }
    this.at += numDigits;
    const code = Number.parseInt(digits, 16);
    return [[code, code]];
  }

  private property(isNegated: boolean): readonly CodeRange[] {
    const end = this.chars.indexOf('}', this.at);
    const name = this.chars.slice(this.at + 1, end).join('');
    if (this.peek() !== '{' || end < 0) throw this.error('\\p without {…}');
    this.at = end + 1;
    const ranges = propertyRanges(name);
    if (ranges === undefined) throw this.error(`\\p{${name}}, which is not a Unicode property of characters`);
    return isNegated ? complementRanges(ranges) : ranges;
  }

  private peek(): string | undefined {
    return this.chars[this.at];
  }

  private take(char: string): boolean {
    if (this.chars[this.at] !== char) return false;
    this.at++;
    return true;
  }

  private error(found: string): InvalidInputError {
    return new InvalidInputError(
      `${this.where}: the regular expression has ${found} (near character ${this.at}).`,
    );
  }
}

function single(ranges: readonly CodeRange[]): number | undefined {
  const [range] = ranges;
  return ranges.length === 1 && range![0] === range![1] ? range![0] : undefined;
}

/** All code points but surrogates: first those of one UTF-16 unit, then those of two. */
const BLOCKS: readonly CodeRange[] = [
  [0x0000, 0xd7ff],
  [0xe000, 0xffff],
  [0x10000, 0x10ffff],
];

const properties = new Map<string, readonly CodeRange[]>();

/** JavaScript has the Unicode tables, but they can only be read by trying what matches. */
function propertyRanges(name: string): readonly CodeRange[] | undefined {
  const known = properties.get(name);
  if (known !== undefined) return known;
  if (!/^[A-Za-z_0-9=]+$/.test(name)) return undefined;
  let runs: RegExp;
  try {
    runs = new RegExp(`\\p{${name}}+`, 'gu');
  } catch {
    return undefined;
  }
  const ranges: CodeRange[] = [];
  for (const [first, last] of BLOCKS) {
    let text = '';
    for (let code = first; code <= last; code++) text += String.fromCodePoint(code);
    const width = first > 0xffff ? 2 : 1;
    for (const { index, 0: run } of text.matchAll(runs)) {
      const start = first + index / width;
      ranges.push([start, start + run.length / width - 1]);
    }
  }
  properties.set(name, ranges);
  return ranges;
}
