/**
 * @file Grammars in EBNF, as written for llama.cpp (GBNF) and XGrammar: `name ::= …` with `|`, `"text"`, `[a-z]`, `.`, groups,
 * `* + ? {m,n}` and `#` comments; `root` is the start. Rules may be recursive, but not left-recursive.
 */
import { InvalidInputError } from '../errors.ts';
import {
  type CodeRange,
  call,
  characters,
  choice,
  complementRanges,
  EMPTY,
  type Expression,
  type Rule,
  repeat,
  rule,
  sequence,
  words,
} from './expression.ts';
import { ANY_CHARACTER } from './regex.ts';

const MAX_GRAMMAR_LENGTH = 500_000;
const MAX_RULES = 1_000;
const MAX_GROUP_DEPTH = 200;
const MAX_TURNS = 1_000_000;

const NAME = /[A-Za-z_][\w.-]*/y;
const DEFINES = /[A-Za-z_][\w.-]*[\s]*::=/y;
const IGNORED = /(?:[ \t\r\n]|#[^\n]*)+/y;
const CONTROL_ESCAPES: Readonly<Record<string, string>> = {
  n: '\n',
  r: '\r',
  t: '\t',
  f: '\f',
  v: '\v',
  b: '\b',
  0: '\0',
};

/** @throws InvalidInputError naming the line of what is malformed, or the rule that is missing. */
export function parseGrammar(grammar: string): Rule {
  if (typeof grammar !== 'string' || grammar.length > MAX_GRAMMAR_LENGTH) {
    throw new InvalidInputError(
      `grammar must be a string of at most ${MAX_GRAMMAR_LENGTH} characters, with a rule root ::= …`,
    );
  }
  return new GrammarParser(grammar).parse();
}

class GrammarParser {
  private readonly text: string;
  private at = 0;
  private depth = 0;
  private readonly rules = new Map<string, Rule>();
  private readonly defined = new Set<string>();
  /** Where each rule is first used. */
  private readonly uses = new Map<string, number>();

  constructor(text: string) {
    this.text = text;
  }

  parse(): Rule {
    this.skip();
    while (this.at < this.text.length) {
      const name = this.match(NAME);
      if (name === undefined) throw this.error('a rule was expected, name ::= …');
      this.skip();
      if (!this.take('::=')) throw this.error(`"::=" was expected after ${name}`);
      if (this.defined.has(name)) throw this.error(`the rule ${name} is defined twice`);
      this.defined.add(name);
      this.ruleOf(name).body = this.alternatives();
      this.skip();
    }
    for (const [name, at] of this.uses) {
      if (this.defined.has(name)) continue;
      this.at = at;
      throw this.error(`the rule ${name} is used and nowhere defined; add ${name} ::= …`);
    }
    if (!this.defined.has('root')) {
      throw new InvalidInputError(
        'grammar has no rule named root, which is where the text starts; add root ::= …',
      );
    }
    return this.ruleOf('root');
  }

  private ruleOf(name: string): Rule {
    let known = this.rules.get(name);
    if (known === undefined) {
      if (this.rules.size >= MAX_RULES) throw this.error(`it has more than ${MAX_RULES} rules`);
      known = rule(name, EMPTY);
      this.rules.set(name, known);
    }
    return known;
  }

  private alternatives(): Expression {
    const items = [this.items()];
    while (this.take('|')) items.push(this.items());
    return items.length === 1 ? items[0]! : choice(...items);
  }

  /** Reads up to `|`, `)`, the end, or the name of the next rule. */
  private items(): Expression {
    const items: Expression[] = [];
    for (;;) {
      this.skip();
      DEFINES.lastIndex = this.at;
      if (this.at >= this.text.length || '|)'.includes(this.text[this.at]!) || DEFINES.test(this.text)) break;
      items.push(this.quantified(this.atom()));
    }
    return items.length === 1 ? items[0]! : sequence(...items);
  }

  private quantified(item: Expression): Expression {
    let out = item;
    for (;;) {
      if (this.take('*')) out = repeat(out, 0, Number.POSITIVE_INFINITY);
      else if (this.take('+')) out = repeat(out, 1, Number.POSITIVE_INFINITY);
      else if (this.take('?')) out = repeat(out, 0, 1);
      else if (this.take('{')) out = this.turns(out);
      else return out;
    }
  }

  private turns(item: Expression): Expression {
    const found = this.match(/\s*(\d*)\s*(,?)\s*(\d*)\s*\}/y);
    const parts = /(\d*)\s*(,?)\s*(\d*)\s*\}/.exec(found ?? '');
    if (parts === null || (parts[1] === '' && parts[3] === '')) {
      throw this.error('{…} was expected to be {n}, {n,}, {,m} or {n,m}');
    }
    const min = Number(parts[1]);
    const max = parts[2] === '' ? min : parts[3] === '' ? Number.POSITIVE_INFINITY : Number(parts[3]);
    if (min > MAX_TURNS || (max > MAX_TURNS && max !== Number.POSITIVE_INFINITY) || max < min) {
      throw this.error(`{${found} is out of order or has more than ${MAX_TURNS} turns`);
    }
    return repeat(item, min, max);
  }

  private atom(): Expression {
    if (this.take('"')) return this.literal();
    if (this.take('[')) return this.characterClass();
    if (this.take('.')) return ANY_CHARACTER;
    if (this.take('(')) {
      if (++this.depth > MAX_GROUP_DEPTH)
        throw this.error(`groups are nested deeper than ${MAX_GROUP_DEPTH}`);
      const body = this.alternatives();
      if (!this.take(')')) throw this.error('")" was expected');
      this.depth--;
      return body;
    }
    const start = this.at;
    const name = this.match(NAME);
    if (name === undefined) {
      throw this.error(`"${this.text[this.at]}" was not expected; text stands in double quotes`);
    }
    if (!this.uses.has(name)) this.uses.set(name, start);
    return call(this.ruleOf(name));
  }

  private literal(): Expression {
    let text = '';
    while (!this.take('"')) text += this.character('"');
    return words(text);
  }

  private characterClass(): Expression {
    const isNegated = this.take('^');
    const ranges: CodeRange[] = [];
    while (!this.take(']')) {
      const first = this.character(']').codePointAt(0)!;
      let last = first;
      if (this.text[this.at] === '-' && this.text[this.at + 1] !== ']') {
        this.at++;
        last = this.character(']').codePointAt(0)!;
      }
      if (last < first) throw this.error('the ends of a range are out of order');
      ranges.push([first, last]);
    }
    return characters(...(isNegated ? complementRanges(ranges) : ranges));
  }

  /** One character of a literal or a class, which may be escaped. */
  private character(closing: string): string {
    const code = this.text.codePointAt(this.at);
    if (code === undefined || code === 10) throw this.error(`${closing} was expected before the line ends`);
    const char = String.fromCodePoint(code);
    this.at += char.length;
    if (char !== '\\') return char;
    const hex = this.match(/x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}/y);
    if (hex !== undefined) {
      const value = Number.parseInt(hex.slice(1), 16);
      if (value > 0x10ffff) throw this.error(`\\${hex} is beyond Unicode`);
      return String.fromCodePoint(value);
    }
    const escaped = this.text[this.at++] ?? '';
    if (/^["'\\/[\]^.$|?*+(){}-]$/.test(escaped)) return escaped;
    const control = CONTROL_ESCAPES[escaped];
    if (control === undefined) throw this.error(`\\${escaped} means nothing; a backslash as text is \\\\`);
    return control;
  }

  private skip(): void {
    this.match(IGNORED);
  }

  private match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0];
    this.at += found?.length ?? 0;
    return found;
  }

  private take(text: string): boolean {
    if (!this.text.startsWith(text, this.at)) return false;
    this.at += text.length;
    return true;
  }

  private error(what: string): InvalidInputError {
    const line = this.text.slice(0, this.at).split('\n').length;
    return new InvalidInputError(`grammar, line ${line}: ${what}.`);
  }
}
