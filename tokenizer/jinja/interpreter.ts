/**
 * @file Runs a syntax tree with given variables. Work, output and nesting are bounded, so that a hostile template ends
 * in a JinjaError `limit` instead of a frozen page.
 */
import type { Args, Body, Expr, FilterCall, Signature, Stmt } from './ast.ts';
import { getAttribute, getItem } from './attributes.ts';
import { JinjaError } from './error.ts';
import { FILTERS } from './filters.ts';
import { freeNames } from './free-names.ts';
import { GLOBALS } from './globals.ts';
import { loopObject } from './loop.ts';

import { binary, slice, unary } from './operators.ts';
import { assign, Scope } from './scope.ts';
import { TESTS } from './tests.ts';
import {
  compare,
  contains,
  equals,
  fromJs,
  HostObject,
  iterate,
  type Key,
  type Kwargs,
  keyOf,
  type Native,
  orElse,
  type Runtime,
  str,
  sweepCost,
  Tuple,
  truthy,
  typeError,
  typeName,
  Undefined,
  type Value,
} from './values.ts';

/** About a second of work. Known templates need 100,000 to 300,000 for a thousand messages of one page each. */
const MAX_STEPS = 1_500_000;
/** The limit for the output and for every text that is made, in UTF-16 units. */
const MAX_LENGTH = 1 << 24;
/** The limit for macros, `caller()` and recursive loops inside one another. */
const MAX_CALL_DEPTH = 100;
/** The limit for the items after `*` in a call. */
const MAX_SPREAD = 1000;

const NO_KWARGS: Kwargs = new Map();

/** How a body ended. */
type Outcome = 'end' | 'break' | 'continue';
type Loop = Stmt & { kind: 'for' };

/**
 * The text that a template gives. `variables` are JSON-like values; `now` is the clock of strftime_now.
 * Throws JinjaError, with the line of the innermost statement.
 */
export function run(template: Body, variables: Readonly<Record<string, unknown>>, now: () => Date): string {
  return new Interpreter(now).run(template, variables);
}

class Interpreter implements Runtime {
  readonly now: () => Date;
  private numSteps = 0;
  private callDepth = 0;
  private output = '';

  constructor(now: () => Date) {
    this.now = now;
  }

  run(template: Body, variables: Readonly<Record<string, unknown>>): string {
    const scope = new Scope(null);
    for (const [name, value] of Object.entries(variables)) {
      if (value !== undefined) scope.set(name, fromJs(value, this));
    }
    this.runBody(template, scope);
    return this.output;
  }

  // --- Runtime ---

  charge(numSteps: number): void {
    this.numSteps += numSteps;
    if (this.numSteps > MAX_STEPS) throw new JinjaError('limit', `more than ${MAX_STEPS} steps`);
  }

  allocate(length: number): void {
    if (length > MAX_LENGTH) throw new JinjaError('limit', `a text of more than ${MAX_LENGTH} characters`);
    this.charge(sweepCost(length));
  }

  call(callee: Value, args: readonly Value[], kwargs: Kwargs): Value {
    if (callee instanceof Undefined) callee.fail();
    if (!(callee instanceof HostObject && callee.native))
      return typeError(`'${typeName(callee)}' object is not callable`);
    return callee.native(this, args, kwargs);
  }

  filter(name: string, input: Value, args: readonly Value[], kwargs: Kwargs): Value {
    const filter = FILTERS.get(name);
    if (!filter) throw new JinjaError('syntax', `No filter named '${name}'.`);
    return filter(this, input, args, kwargs);
  }

  test(name: string, input: Value, args: readonly Value[], kwargs: Kwargs): boolean {
    const test = TESTS.get(name);
    if (!test) throw new JinjaError('syntax', `No test named '${name}'.`);
    return truthy(test(this, input, args, kwargs));
  }

  // --- statements ---

  private write(text: string): void {
    if (this.output.length + text.length > MAX_LENGTH) {
      throw new JinjaError('limit', `an output of more than ${MAX_LENGTH} characters`);
    }
    this.output += text;
  }

  private runBody(body: Body, scope: Scope): Outcome {
    for (const stmt of body) {
      try {
        this.charge(1);
        const outcome = this.runStmt(stmt, scope);
        if (outcome !== 'end') return outcome;
      } catch (error) {
        if (error instanceof JinjaError) error.line ??= stmt.line;
        throw error;
      }
    }
    return 'end';
  }

  private runStmt(stmt: Stmt, scope: Scope): Outcome {
    switch (stmt.kind) {
      case 'text':
        this.write(stmt.text);
        return 'end';
      case 'print':
        this.write(str(this.eval(stmt.value, scope), this));
        return 'end';
      case 'if':
        return this.runBody(truthy(this.eval(stmt.test, scope)) ? stmt.body : stmt.otherwise, scope);
      case 'for':
        this.runFor(stmt, this.eval(stmt.items, scope), scope, 0);
        return 'end';
      case 'break':
      case 'continue':
        return stmt.kind;
      case 'set':
        assign(stmt.target, this.eval(stmt.value, scope), scope, this);
        return 'end';
      case 'setBlock': {
        const text = this.capture(stmt.body, new Scope(scope));
        assign(stmt.target, this.filterChain(stmt.filters, text, scope), scope, this);
        return 'end';
      }
      case 'macro':
        scope.set(stmt.macro.name, this.macro(stmt.macro, scope));
        return 'end';
      case 'call': {
        const callee = this.eval(stmt.call.callee, scope);
        const { args, kwargs } = this.evalArgs(stmt.call.args, scope);
        const caller = this.macro(stmt.caller, scope);
        this.write(str(this.call(callee, args, new Map([...kwargs, ['caller', caller]])), this));
        return 'end';
      }
      case 'filter':
        this.write(
          str(this.filterChain(stmt.filters, this.capture(stmt.body, new Scope(scope)), scope), this),
        );
        return 'end';
      case 'with': {
        const inner = new Scope(scope);
        for (const [target, value] of stmt.bindings) assign(target, this.eval(value, scope), inner, this);
        return this.runBody(stmt.body, inner);
      }
      default:
        return stmt satisfies never;
    }
  }

  private runFor(loop: Loop, iterable: Value, scope: Scope, depth: number): void {
    const inScope = (item: Value) => {
      const inner = new Scope(scope);
      assign(loop.target, item, inner, this);
      return inner;
    };
    const { test } = loop;
    const all = iterate(iterable, this);
    const items = test ? all.filter((item) => truthy(this.eval(test, inScope(item)))) : all;
    const recurse = (inner: Value) =>
      this.nested(() => this.captured(() => this.runFor(loop, inner, scope, depth + 1)));
    const { object, moveTo } = loopObject(items, depth, loop.isRecursive ? recurse : null);
    // As in Jinja2, `else` also runs when `break` or `continue` cut every round short.
    let isAnyComplete = false;
    for (let index = 0; index < items.length; index++) {
      this.charge(4);
      moveTo(index);
      const inner = inScope(items[index] as Value);
      inner.set('loop', object);
      const outcome = this.runBody(loop.body, inner);
      if (outcome === 'break') break;
      isAnyComplete ||= outcome === 'end';
    }
    if (!isAnyComplete) this.runBody(loop.otherwise, new Scope(scope));
  }

  private nested<T>(run: () => T): T {
    this.charge(10);
    if (this.callDepth >= MAX_CALL_DEPTH) {
      throw new JinjaError('limit', `macros or loops nested deeper than ${MAX_CALL_DEPTH} calls`);
    }
    this.callDepth++;
    const result = run();
    this.callDepth--;
    return result;
  }

  private captured(write: () => void): string {
    const outside = this.output;
    this.output = '';
    write();
    const text = this.output;
    this.output = outside;
    return text;
  }

  private capture(body: Body, scope: Scope): string {
    return this.captured(() => this.runBody(body, scope));
  }

  /** A macro, or the body of a `call` block, as a function. */
  private macro({ name, params, body }: Signature, scope: Scope): HostObject {
    const names = params.map((param) => param.name);
    const free = freeNames(body, names);
    const bind: Native = (_, args, kwargs) => {
      const inner = new Scope(scope);
      const rest = new Map(kwargs);
      if (args.length > params.length && !free.has('varargs')) {
        return typeError(`macro '${name}' takes not more than ${params.length} argument(s)`);
      }
      for (const [i, param] of params.entries()) {
        if (i < args.length && rest.has(param.name)) {
          return typeError(`macro '${name}' got multiple values for argument '${param.name}'`);
        }
        const given = i < args.length ? args[i] : rest.get(param.name);
        rest.delete(param.name);
        const missing = new Undefined(`parameter '${param.name}' was not provided`);
        const fallback = given === undefined && param.fallback ? this.eval(param.fallback, inner) : missing;
        inner.set(param.name, orElse(given, fallback));
      }
      if (free.has('caller') && !names.includes('caller')) {
        inner.set('caller', orElse(rest.get('caller'), new Undefined('No caller defined')));
        rest.delete('caller');
      }
      if (free.has('varargs')) inner.set('varargs', new Tuple(args.slice(params.length)));
      if (free.has('kwargs')) inner.set('kwargs', rest);
      else if (rest.size > 0) {
        return typeError(`macro '${name}' takes no keyword argument '${[...rest.keys()][0]}'`);
      }
      return this.nested(() => this.capture(body, inner));
    };
    return new HostObject('Macro', bind, (attribute) => (attribute === 'name' ? name : undefined));
  }

  private filterChain(filters: readonly FilterCall[], text: string, scope: Scope): Value {
    return filters.reduce<Value>((value, call) => this.applyFilter(call, value, scope), text);
  }

  private applyFilter(call: FilterCall, input: Value, scope: Scope): Value {
    const { args, kwargs } = this.evalArgs(call.args, scope);
    return this.filter(call.name, input, args, kwargs);
  }

  // --- expressions ---

  private evalArgs(
    { positional, named, spread, namedSpread }: Args,
    scope: Scope,
  ): { args: Value[]; kwargs: Kwargs } {
    const args = positional.map((arg) => this.eval(arg, scope));
    const more = spread ? iterate(this.eval(spread, scope), this) : [];
    if (more.length > MAX_SPREAD) throw new JinjaError('limit', `more than ${MAX_SPREAD} arguments after *`);
    args.push(...more);
    if (named.length === 0 && !namedSpread) return { args, kwargs: NO_KWARGS };
    const kwargs = new Map<string, Value>();
    for (const [name, arg] of named) kwargs.set(name, this.eval(arg, scope));
    const moreNamed = namedSpread ? this.eval(namedSpread, scope) : new Map<Key, Value>();
    if (!(moreNamed instanceof Map)) return typeError('argument after ** must be a mapping');
    for (const [key, value] of moreNamed as ReadonlyMap<Key, Value>) kwargs.set(String(key), value);
    return { args, kwargs };
  }

  private eval(expr: Expr, scope: Scope): Value {
    this.charge(1);
    switch (expr.kind) {
      case 'const':
        return expr.value;
      case 'name':
        return this.lookUp(expr.name, scope);
      case 'list':
        return expr.items.map((item) => this.eval(item, scope));
      case 'tuple':
        return new Tuple(expr.items.map((item) => this.eval(item, scope)));
      case 'dict':
        return new Map(
          expr.entries.map(
            ([key, value]) => [keyOf(this.eval(key, scope)), this.eval(value, scope)] as const,
          ),
        );
      case 'attribute':
        return getAttribute(this.eval(expr.object, scope), expr.name);
      case 'item':
        return getItem(this.eval(expr.object, scope), this.eval(expr.key, scope), this);
      case 'slice':
        return this.evalSlice(expr.object, expr.bounds, scope);
      case 'call': {
        const callee = this.eval(expr.callee, scope);
        const { args, kwargs } = this.evalArgs(expr.args, scope);
        return this.call(callee, args, kwargs);
      }
      case 'filter':
        return this.applyFilter(expr.call, this.eval(expr.input, scope), scope);
      case 'test': {
        const input = this.eval(expr.input, scope);
        const { args, kwargs } = this.evalArgs(expr.call.args, scope);
        return this.test(expr.call.name, input, args, kwargs);
      }
      case 'unary': {
        const operand = this.eval(expr.operand, scope);
        return expr.op === 'not' ? !truthy(operand) : unary(expr.op, operand);
      }
      case 'logic': {
        const left = this.eval(expr.left, scope);
        return truthy(left) === (expr.op === 'and') ? this.eval(expr.right, scope) : left;
      }
      case 'binary':
        return binary(expr.op, this.eval(expr.left, scope), this.eval(expr.right, scope), this);
      case 'compare':
        return this.evalCompare(expr.first, expr.rest, scope);
      case 'concat': {
        const parts = expr.parts.map((part) => str(this.eval(part, scope), this));
        this.allocate(parts.reduce((sum, part) => sum + part.length, 0));
        return parts.join('');
      }
      case 'choice':
        if (truthy(this.eval(expr.test, scope))) return this.eval(expr.value, scope);
        return expr.otherwise
          ? this.eval(expr.otherwise, scope)
          : new Undefined('the inline if-expression evaluated to false and no else section was defined.');
      default:
        return expr satisfies never;
    }
  }

  private lookUp(name: string, scope: Scope): Value {
    const value = scope.get(name);
    if (value !== undefined) return value;
    return GLOBALS.get(name) ?? new Undefined(`'${name}' is undefined`);
  }

  private evalSlice(objectExpr: Expr, boundExprs: readonly (Expr | null)[], scope: Scope): Value {
    const object = this.eval(objectExpr, scope);
    if (object instanceof Undefined) object.fail();
    const bounds = boundExprs.map((bound) => (bound ? this.eval(bound, scope) : null));
    return slice(object, bounds, this);
  }

  private evalCompare(first: Expr, rest: readonly (readonly [string, Expr])[], scope: Scope): boolean {
    let left = this.eval(first, scope);
    for (const [op, rightExpr] of rest) {
      const right = this.eval(rightExpr, scope);
      if (!this.holds(op, left, right)) return false;
      left = right;
    }
    return true;
  }

  private holds(op: string, a: Value, b: Value): boolean {
    if (op === '==') return equals(a, b, this);
    if (op === '!=') return !equals(a, b, this);
    if (op === 'in') return contains(b, a, this);
    if (op === 'not in') return !contains(b, a, this);
    const order = compare(a, b, this, op);
    if (op === '<') return order < 0;
    if (op === '<=') return order <= 0;
    return op === '>' ? order > 0 : order >= 0;
  }
}
