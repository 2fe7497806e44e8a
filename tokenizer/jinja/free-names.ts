/** @file Which variables a template takes from outside: names that it reads where it may not have set them before. */
import type { Body, Expr, Signature, Stmt, Target } from './ast.ts';

/** Free names of a template or macro body. Globals such as `range` are among them. */
export function freeNames(body: Body, bound: Iterable<string> = []): Set<string> {
  const free = new Set<string>();
  visitBody(body, new Set(bound), free);
  return free;
}

/** Names of any expression (it binds none) that are not in `bound`; absent parts are skipped. */
function visitExpr(node: unknown, bound: ReadonlySet<string>, free: Set<string>): void {
  if (Array.isArray(node)) for (const part of node) visitExpr(part, bound, free);
  else if (typeof node === 'object' && node !== null) {
    const expr = node as Expr;
    if (expr.kind === 'name') {
      if (!bound.has(expr.name)) free.add(expr.name);
    } else for (const part of Object.values(node)) visitExpr(part, bound, free);
  }
}

function bind(target: Target, bound: Set<string>, free: Set<string>): void {
  if (target.kind === 'name') bound.add(target.name);
  else if (target.kind === 'tuple') for (const item of target.items) bind(item, bound, free);
  else if (!bound.has(target.namespace)) free.add(target.namespace);
}

function visitMacro({ params, body }: Signature, bound: ReadonlySet<string>, free: Set<string>): void {
  visitExpr(
    params.map(({ fallback }) => fallback),
    bound,
    free,
  );
  const implicit = ['caller', 'varargs', 'kwargs'];
  visitBody(body, new Set([...bound, ...implicit, ...params.map(({ name }) => name)]), free);
}

function visitBody(body: Body, bound: Set<string>, free: Set<string>): void {
  for (const stmt of body) visitStmt(stmt, bound, free);
}

function visitStmt(stmt: Stmt, bound: Set<string>, free: Set<string>): void {
  switch (stmt.kind) {
    case 'text':
    case 'break':
    case 'continue':
      break;
    case 'print':
      visitExpr(stmt.value, bound, free);
      break;
    case 'if': {
      visitExpr(stmt.test, bound, free);
      const [then, otherwise] = [new Set(bound), new Set(bound)];
      visitBody(stmt.body, then, free);
      visitBody(stmt.otherwise, otherwise, free);
      for (const name of then) if (otherwise.has(name)) bound.add(name);
      break;
    }
    case 'for': {
      visitExpr(stmt.items, bound, free);
      const inner = new Set([...bound, 'loop']);
      bind(stmt.target, inner, free);
      visitExpr(stmt.test, inner, free);
      visitBody(stmt.body, inner, free);
      visitBody(stmt.otherwise, new Set(bound), free);
      break;
    }
    case 'set':
      visitExpr(stmt.value, bound, free);
      bind(stmt.target, bound, free);
      break;
    case 'setBlock':
      visitExpr(stmt.filters, bound, free);
      visitBody(stmt.body, new Set(bound), free);
      bind(stmt.target, bound, free);
      break;
    case 'macro':
      bound.add(stmt.macro.name);
      visitMacro(stmt.macro, bound, free);
      break;
    case 'call':
      visitExpr(stmt.call, bound, free);
      visitMacro(stmt.caller, bound, free);
      break;
    case 'filter':
      visitExpr(stmt.filters, bound, free);
      visitBody(stmt.body, new Set(bound), free);
      break;
    case 'with': {
      const inner = new Set(bound);
      for (const [target, value] of stmt.bindings) {
        visitExpr(value, bound, free);
        bind(target, inner, free);
      }
      visitBody(stmt.body, inner, free);
      break;
    }
    default:
      stmt satisfies never;
  }
}
