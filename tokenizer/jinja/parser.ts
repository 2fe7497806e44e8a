/**
 * @file Tokens -> syntax tree: the statements of the grammar. `{% generation %}` is a `with` block without bindings:
 * it changes nothing, but variables set inside stay inside, as in transformers.
 */
import type { Body, Expr, Signature, Stmt, Target } from './ast.ts';
import { CONSTANTS, ExpressionParser } from './expression-parser.ts';
import { tokenize } from './lexer.ts';

/** Parses a template. Throws JinjaError `syntax` (or `limit` for absurd nesting) with its line. */
export function parse(template: string): Body {
  return new TemplateParser(tokenize(template)).parseTemplate();
}

class TemplateParser extends ExpressionParser {
  private loopDepth = 0;

  parseTemplate(): Body {
    const body = this.parseBody([]);
    if (!this.is('end')) this.fail(`Encountered unknown tag '${this.peek(1).value}'`);
    return body;
  }

  /** Statements up to a `{% name %}` with one of the names, which is left unread, or up to an unknown tag or the end. */
  private parseBody(endNames: readonly string[]): Body {
    const body: Stmt[] = [];
    for (;;) {
      const { type, value, line } = this.peek(0);
      if (type === 'text') {
        this.skip('text');
        body.push({ kind: 'text', text: value, line });
      } else if (type === '{{') {
        this.skip('{{');
        body.push({ kind: 'print', value: this.parseTuple(), line });
        this.expect('}}');
      } else if (type === '{%') {
        const { type: tagType, value: name } = this.peek(1);
        const parseStatement = tagType === 'name' && !endNames.includes(name) && STATEMENTS.get(name);
        if (!parseStatement) return body;
        this.skip('{%');
        this.skip('name');
        body.push({ ...this.nested(() => parseStatement(this)), line });
      } else return body;
    }
  }

  /** Reads `%}`, the statements, and the tag that ends them. Returns the name of that tag; its `%}` is left unread. */
  private parseBlock(...endNames: string[]): { body: Body; end: string } {
    this.expect('%}');
    const body = this.parseBody(endNames);
    if (!this.skip('{%')) this.fail(`unexpected end of template: expected ${endNames.join(' or ')}`);
    const end = this.expect('name').value;
    if (!endNames.includes(end))
      this.fail(`Encountered unknown tag '${end}', expected ${endNames.join(' or ')}`);
    return { body, end };
  }

  private closed<T>(statement: T): T {
    this.expect('%}');
    return statement;
  }

  parseIf(): StmtNode {
    const test = this.parseTuple(false);
    const { body, end } = this.parseBlock('elif', 'else', 'endif');
    if (end === 'elif') {
      const { line } = this.peek(0);
      return { kind: 'if', test, body, otherwise: [{ ...this.nested(() => this.parseIf()), line }] };
    }
    const otherwise = end === 'else' ? this.parseBlock('endif').body : [];
    return this.closed({ kind: 'if', test, body, otherwise });
  }

  parseFor(): StmtNode {
    const target = this.parseTarget(false);
    this.expect('name', 'in');
    const items = this.parseTuple(false);
    const test = this.skip('name', 'if') ? this.parseExpression() : null;
    const isRecursive = this.skip('name', 'recursive');
    this.loopDepth++;
    const { body, end } = this.parseBlock('else', 'endfor');
    this.loopDepth--;
    const otherwise = end === 'else' ? this.parseBlock('endfor').body : [];
    return this.closed({ kind: 'for', target, items, test, isRecursive, body, otherwise });
  }

  parseJump(kind: 'break' | 'continue'): StmtNode {
    if (this.loopDepth === 0) this.fail(`'${kind}' outside loop`);
    return this.closed({ kind });
  }

  parseSet(): StmtNode {
    const target = this.parseTarget(true);
    if (this.skip('operator', '=')) return this.closed({ kind: 'set', target, value: this.parseTuple() });
    const filters = this.parseFilterChain();
    const { body } = this.parseBlock('endset');
    return this.closed({ kind: 'setBlock', target, filters, body });
  }

  parseMacro(): StmtNode {
    const { value: name } = this.expect('name');
    const macro = this.parseSignature(name, 'endmacro');
    return this.closed({ kind: 'macro', macro });
  }

  parseCall(): StmtNode {
    const params = this.is('operator', '(') ? this.parseParams() : [];
    const call = this.parseExpression();
    if (call.kind !== 'call') this.fail('expected call');
    return this.closed({ kind: 'call', call, caller: this.parseSignature('caller', 'endcall', params) });
  }

  parseFilterBlock(): StmtNode {
    const filters = [this.parseFilterCall(), ...this.parseFilterChain()];
    const { body } = this.parseBlock('endfilter');
    return this.closed({ kind: 'filter', filters, body });
  }

  parseWith(end: string): StmtNode {
    const bindings: [Target, Expr][] = [];
    while (!this.is('%}')) {
      if (bindings.length > 0) this.expect('operator', ',');
      const name = this.parseTargetItem(false);
      this.expect('operator', '=');
      bindings.push([name, this.parseExpression()]);
    }
    const { body } = this.parseBlock(end);
    return this.closed({ kind: 'with', bindings, body });
  }

  private parseSignature(name: string, end: string, params = this.parseParams()): Signature {
    const loopDepth = this.loopDepth;
    this.loopDepth = 0;
    const { body } = this.parseBlock(end);
    this.loopDepth = loopDepth;
    return { name, params, body };
  }

  private parseParams(): Signature['params'] {
    const params: { name: string; fallback: Expr | null }[] = [];
    this.expect('operator', '(');
    while (!this.skip('operator', ')')) {
      if (params.length > 0) this.expect('operator', ',');
      const { value: name } = this.expect('name');
      const fallback = this.skip('operator', '=') ? this.parseExpression() : null;
      if (!fallback && params.at(-1)?.fallback) this.fail('non-default argument follows default argument');
      params.push({ name, fallback });
    }
    return params;
  }

  private parseTarget(hasFields: boolean): Target {
    const items = [this.parseTargetItem(hasFields)];
    let isTuple = false;
    while (this.skip('operator', ',')) {
      isTuple = true;
      if (!this.is('name') && !this.is('operator', '(')) break;
      if (this.is('name', 'in')) break;
      items.push(this.parseTargetItem(hasFields));
    }
    return isTuple ? { kind: 'tuple', items } : (items[0] as Target);
  }

  private parseTargetItem(hasFields: boolean): Target {
    if (this.skip('operator', '(')) {
      const target = this.nested(() => this.parseTarget(hasFields));
      this.expect('operator', ')');
      return target;
    }
    const { value: name } = this.expect('name');
    if (CONSTANTS.has(name)) this.fail(`can't assign to '${name}'`);
    if (!hasFields || !this.skip('operator', '.')) return { kind: 'name', name };
    return { kind: 'field', namespace: name, name: this.expect('name').value };
  }
}

type WithoutLine<T> = T extends unknown ? Omit<T, 'line'> : never;
type StmtNode = WithoutLine<Stmt>;

const STATEMENTS = new Map<string, (parser: TemplateParser) => StmtNode>([
  ['if', (parser) => parser.parseIf()],
  ['for', (parser) => parser.parseFor()],
  ['break', (parser) => parser.parseJump('break')],
  ['continue', (parser) => parser.parseJump('continue')],
  ['set', (parser) => parser.parseSet()],
  ['macro', (parser) => parser.parseMacro()],
  ['call', (parser) => parser.parseCall()],
  ['filter', (parser) => parser.parseFilterBlock()],
  ['with', (parser) => parser.parseWith('endwith')],
  ['generation', (parser) => parser.parseWith('endgeneration')],
]);
