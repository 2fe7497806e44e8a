/** @file The expressions of the grammar, with the precedence of Jinja2 3.1, and the token stream that parsing reads. */
import type { Args, Expr, FilterCall } from './ast.ts';
import { JinjaError } from './error.ts';
import type { Token, TokenType } from './lexer.ts';

/** The limit for nested brackets, operators and blocks, so that the JavaScript stack never overflows. */
const MAX_DEPTH = 200;
export const CONSTANTS: ReadonlyMap<string, boolean | null> = new Map([
  ['true', true],
  ['True', true],
  ['false', false],
  ['False', false],
  ['none', null],
  ['None', null],
]);
const COMPARISONS = new Set(['==', '!=', '<', '<=', '>', '>=']);
const NO_ARGS: Args = { positional: [], named: [], spread: null, namedSpread: null };

export class ExpressionParser {
  private readonly tokens: readonly Token[];
  private position = 0;
  private depth = 0;

  constructor(tokens: readonly Token[]) {
    this.tokens = tokens;
  }

  // --- tokens ---

  private get current(): Token {
    return this.tokens[this.position] as Token;
  }

  protected peek(distance: number): Token {
    return this.tokens[Math.min(this.position + distance, this.tokens.length - 1)] as Token;
  }

  protected is(type: TokenType, value?: string): boolean {
    return this.current.type === type && (value === undefined || this.current.value === value);
  }

  protected skip(type: TokenType, value?: string): boolean {
    const isHere = this.is(type, value);
    if (isHere) this.position++;
    return isHere;
  }

  protected expect(type: TokenType, value?: string): Token {
    const token = this.current;
    if (!this.skip(type, value)) this.fail(`expected ${value ?? type}, got ${describe(token)}`);
    return token;
  }

  protected fail(message: string): never {
    throw new JinjaError('syntax', message, this.current.line);
  }

  protected nested<T>(parse: () => T): T {
    if (++this.depth > MAX_DEPTH) {
      throw new JinjaError('limit', `nested deeper than ${MAX_DEPTH} levels`, this.current.line);
    }
    const result = parse();
    this.depth--;
    return result;
  }

  // --- expressions, loosest first ---

  /** `a` or `a, b`; `hasChoice` false leaves a following `if` to the caller (the filter of a `for`). */
  protected parseTuple(hasChoice = true, isInParentheses = false): Expr {
    const parseItem = () => (hasChoice ? this.parseExpression() : this.nested(() => this.parseOr()));
    const isEnd = () => this.is('}}') || this.is('%}') || this.is('operator', ')');
    const items: Expr[] = [];
    let isTuple = false;
    while (!isEnd()) {
      items.push(parseItem());
      if (!this.skip('operator', ',')) break;
      isTuple = true;
    }
    if (isTuple || (items.length === 0 && isInParentheses)) return { kind: 'tuple', items };
    return items[0] ?? this.fail(`Expected an expression, got ${describe(this.current)}`);
  }

  protected parseExpression(): Expr {
    return this.nested(() => {
      let left = this.parseOr();
      while (this.skip('name', 'if')) {
        const test = this.parseOr();
        const otherwise = this.skip('name', 'else') ? this.parseExpression() : null;
        left = { kind: 'choice', test, value: left, otherwise };
      }
      return left;
    });
  }

  private parseOr(): Expr {
    let left = this.parseAnd();
    while (this.skip('name', 'or')) left = { kind: 'logic', op: 'or', left, right: this.parseAnd() };
    return left;
  }

  private parseAnd(): Expr {
    let left = this.parseNot();
    while (this.skip('name', 'and')) left = { kind: 'logic', op: 'and', left, right: this.parseNot() };
    return left;
  }

  private parseNot(): Expr {
    if (!this.skip('name', 'not')) return this.parseCompare();
    return { kind: 'unary', op: 'not', operand: this.nested(() => this.parseNot()) };
  }

  private parseCompare(): Expr {
    const first = this.parseSum();
    const rest: [string, Expr][] = [];
    for (;;) {
      const { type, value } = this.current;
      if (type === 'operator' && COMPARISONS.has(value)) {
        this.position++;
        rest.push([value, this.parseSum()]);
      } else if (this.skip('name', 'in')) rest.push(['in', this.parseSum()]);
      else if (type === 'name' && value === 'not' && this.peek(1).value === 'in') {
        this.position += 2;
        rest.push(['not in', this.parseSum()]);
      } else return rest.length > 0 ? { kind: 'compare', first, rest } : first;
    }
  }

  private parseSum(): Expr {
    return this.parseBinary(['+', '-'], () => this.parseConcat());
  }

  private parseConcat(): Expr {
    const parts = [this.parseProduct()];
    while (this.skip('operator', '~')) parts.push(this.parseProduct());
    return parts.length > 1 ? { kind: 'concat', parts } : (parts[0] as Expr);
  }

  private parseProduct(): Expr {
    return this.parseBinary(['*', '/', '//', '%'], () => this.parseBinary(['**'], () => this.parseUnary()));
  }

  private parseBinary(ops: readonly string[], parseOperand: () => Expr): Expr {
    let left = parseOperand();
    while (this.current.type === 'operator' && ops.includes(this.current.value)) {
      const op = this.current.value;
      this.position++;
      left = { kind: 'binary', op, left, right: parseOperand() };
    }
    return left;
  }

  private parseUnary(hasFilters = true): Expr {
    const { type, value } = this.current;
    let expr: Expr;
    if (type === 'operator' && (value === '-' || value === '+')) {
      this.position++;
      expr = { kind: 'unary', op: value, operand: this.nested(() => this.parseUnary(false)) };
    } else expr = this.parsePrimary();
    expr = this.parsePostfix(expr);
    return hasFilters ? this.parseFiltersAndTests(expr) : expr;
  }

  private parsePrimary(): Expr {
    const { type, value } = this.current;
    const constant = (value: boolean | null | bigint | number | string): Expr => ({ kind: 'const', value });
    if (type === 'name') {
      this.position++;
      const known = CONSTANTS.get(value);
      return known === undefined ? { kind: 'name', name: value } : constant(known);
    }
    if (type === 'string') {
      let text = '';
      while (this.is('string')) text += this.expect('string').value;
      return constant(text);
    }
    if (type === 'integer' || type === 'float') {
      this.position++;
      return constant(type === 'integer' ? BigInt(value) : Number(value));
    }
    if (this.skip('operator', '(')) {
      const inner = this.parseTuple(true, true);
      this.expect('operator', ')');
      return inner;
    }
    if (this.skip('operator', '[')) {
      return { kind: 'list', items: this.parseUntil(']', () => this.parseExpression()) };
    }
    if (this.skip('operator', '{')) {
      const parseEntry = () => {
        const key = this.parseExpression();
        this.expect('operator', ':');
        return [key, this.parseExpression()] as const;
      };
      return { kind: 'dict', entries: this.parseUntil('}', parseEntry) };
    }
    return this.fail(`unexpected ${describe(this.current)}`);
  }

  private parseUntil<T>(close: string, parseItem: () => T): T[] {
    const items: T[] = [];
    while (!this.skip('operator', close)) {
      if (items.length > 0) this.expect('operator', ',');
      if (this.skip('operator', close)) break;
      items.push(parseItem());
    }
    return items;
  }

  private parsePostfix(start: Expr): Expr {
    let expr = start;
    for (;;) {
      if (this.skip('operator', '.')) {
        const token = this.current;
        this.position++;
        if (token.type === 'name') expr = { kind: 'attribute', object: expr, name: token.value };
        else if (token.type === 'integer') {
          expr = { kind: 'item', object: expr, key: { kind: 'const', value: BigInt(token.value) } };
        } else this.fail('expected name or number after a dot');
      } else if (this.skip('operator', '[')) expr = this.parseSubscript(expr);
      else if (this.is('operator', '(')) expr = { kind: 'call', callee: expr, args: this.parseArgs() };
      else return expr;
    }
  }

  private parseSubscript(object: Expr): Expr {
    const parseBound = () =>
      this.is('operator', ':') || this.is('operator', ']') ? null : this.parseExpression();
    const bounds = [parseBound()];
    while (bounds.length < 3 && this.skip('operator', ':')) bounds.push(parseBound());
    this.expect('operator', ']');
    if (bounds.length > 1) return { kind: 'slice', object, bounds };
    return { kind: 'item', object, key: bounds[0] ?? this.fail('Expected an expression, got ]') };
  }

  private parseArgs(): Args {
    const positional: Expr[] = [];
    const named: [string, Expr][] = [];
    let spread: Expr | null = null;
    let namedSpread: Expr | null = null;
    this.expect('operator', '(');
    let isFirst = true;
    while (!this.skip('operator', ')')) {
      if (!isFirst) this.expect('operator', ',');
      isFirst = false;
      if (this.skip('operator', ')')) break;
      if (this.is('operator', '*') && !spread && !namedSpread) {
        this.position++;
        spread = this.parseExpression();
      } else if (this.is('operator', '**') && !namedSpread) {
        this.position++;
        namedSpread = this.parseExpression();
      } else if (this.is('name') && this.peek(1).type === 'operator' && this.peek(1).value === '=') {
        if (namedSpread) this.fail('invalid syntax for function call expression');
        const { value: name } = this.expect('name');
        this.position++;
        named.push([name, this.parseExpression()]);
      } else {
        if (named.length > 0 || spread || namedSpread)
          this.fail('invalid syntax for function call expression');
        positional.push(this.parseExpression());
      }
    }
    return { positional, named, spread, namedSpread };
  }

  private parseFiltersAndTests(start: Expr): Expr {
    let expr = start;
    for (;;) {
      if (this.skip('operator', '|')) expr = { kind: 'filter', input: expr, call: this.parseFilterCall() };
      else if (this.skip('name', 'is')) expr = this.parseTest(expr);
      else if (this.is('operator', '(')) expr = { kind: 'call', callee: expr, args: this.parseArgs() };
      else return expr;
    }
  }

  protected parseFilterChain(): FilterCall[] {
    const filters: FilterCall[] = [];
    while (this.skip('operator', '|')) filters.push(this.parseFilterCall());
    return filters;
  }

  private parseDottedName(): string {
    let { value: name } = this.expect('name');
    while (this.skip('operator', '.')) name += `.${this.expect('name').value}`;
    return name;
  }

  protected parseFilterCall(): FilterCall {
    const name = this.parseDottedName();
    return { name, args: this.is('operator', '(') ? this.parseArgs() : NO_ARGS };
  }

  private parseTest(input: Expr): Expr {
    const isNegated = this.skip('name', 'not');
    const name = this.parseDottedName();
    const { type, value } = this.current;
    let args = NO_ARGS;
    if (type === 'operator' && value === '(') args = this.parseArgs();
    else if (
      type === 'string' ||
      type === 'integer' ||
      type === 'float' ||
      (type === 'operator' && (value === '[' || value === '{')) ||
      (type === 'name' && value !== 'else' && value !== 'or' && value !== 'and')
    ) {
      if (value === 'is' && type === 'name') this.fail('You cannot chain multiple tests with is');
      args = { ...NO_ARGS, positional: [this.parsePostfix(this.parsePrimary())] };
    }
    const test: Expr = { kind: 'test', input, call: { name, args } };
    return isNegated ? { kind: 'unary', op: 'not', operand: test } : test;
  }
}

const NAMES: Partial<Record<TokenType, string>> = {
  '}}': "'end of print statement'",
  '%}': "'end of statement block'",
  text: 'template text',
  end: 'the end of the template',
};

function describe(token: Token): string {
  return NAMES[token.type] ?? `'${token.value}'`;
}
