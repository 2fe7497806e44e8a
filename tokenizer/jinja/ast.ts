/** @file The syntax tree of a template. Expressions bind no names; statements that do are `set`, `for`, `macro`, `call`, `with`. */

export interface Args {
  readonly positional: readonly Expr[];
  readonly named: readonly (readonly [string, Expr])[];
  /** `*expr` and `**expr`. */
  readonly spread: Expr | null;
  readonly namedSpread: Expr | null;
}

export interface FilterCall {
  readonly name: string;
  readonly args: Args;
}

export type Expr =
  | { readonly kind: 'const'; readonly value: null | boolean | bigint | number | string }
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'list' | 'tuple'; readonly items: readonly Expr[] }
  | { readonly kind: 'dict'; readonly entries: readonly (readonly [Expr, Expr])[] }
  | { readonly kind: 'attribute'; readonly object: Expr; readonly name: string }
  | { readonly kind: 'item'; readonly object: Expr; readonly key: Expr }
  | { readonly kind: 'slice'; readonly object: Expr; readonly bounds: readonly (Expr | null)[] }
  | { readonly kind: 'call'; readonly callee: Expr; readonly args: Args }
  | { readonly kind: 'filter'; readonly input: Expr; readonly call: FilterCall }
  | { readonly kind: 'test'; readonly input: Expr; readonly call: FilterCall }
  | { readonly kind: 'unary'; readonly op: '-' | '+' | 'not'; readonly operand: Expr }
  | { readonly kind: 'logic'; readonly op: 'and' | 'or'; readonly left: Expr; readonly right: Expr }
  | { readonly kind: 'binary'; readonly op: string; readonly left: Expr; readonly right: Expr }
  | { readonly kind: 'compare'; readonly first: Expr; readonly rest: readonly (readonly [string, Expr])[] }
  | { readonly kind: 'concat'; readonly parts: readonly Expr[] }
  | { readonly kind: 'choice'; readonly test: Expr; readonly value: Expr; readonly otherwise: Expr | null };

/** What `set`, `for` and `with` assign to; `field` is `namespace.name`. */
export type Target =
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'field'; readonly namespace: string; readonly name: string }
  | { readonly kind: 'tuple'; readonly items: readonly Target[] };

/** Parameters of a macro or of the body of a `call` block. */
export interface Signature {
  readonly name: string;
  readonly params: readonly { readonly name: string; readonly fallback: Expr | null }[];
  readonly body: Body;
}

export type Body = readonly Stmt[];

export type Stmt = { readonly line: number } & (
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'print'; readonly value: Expr }
  | { readonly kind: 'if'; readonly test: Expr; readonly body: Body; readonly otherwise: Body }
  | {
      readonly kind: 'for';
      readonly target: Target;
      readonly items: Expr;
      readonly test: Expr | null;
      readonly isRecursive: boolean;
      readonly body: Body;
      readonly otherwise: Body;
    }
  | { readonly kind: 'break' | 'continue' }
  | { readonly kind: 'set'; readonly target: Target; readonly value: Expr }
  | {
      readonly kind: 'setBlock';
      readonly target: Target;
      readonly filters: readonly FilterCall[];
      readonly body: Body;
    }
  | { readonly kind: 'macro'; readonly macro: Signature }
  | { readonly kind: 'call'; readonly call: Expr & { kind: 'call' }; readonly caller: Signature }
  | { readonly kind: 'filter'; readonly filters: readonly FilterCall[]; readonly body: Body }
  | { readonly kind: 'with'; readonly bindings: readonly (readonly [Target, Expr])[]; readonly body: Body }
);
