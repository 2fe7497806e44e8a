/** @file Variables: which block sees which, and assignment to names, tuples and fields of a namespace. */
import type { Target } from './ast.ts';
import { iterate, Namespace, type Runtime, typeError, type Value, valueError } from './values.ts';

/** Variables of a block; a block sees those around it and sets only its own. */
export class Scope {
  readonly variables = new Map<string, Value>();
  private readonly parent: Scope | null;

  constructor(parent: Scope | null) {
    this.parent = parent;
  }

  get(name: string): Value | undefined {
    const value = this.variables.get(name);
    return value === undefined ? this.parent?.get(name) : value;
  }

  set(name: string, value: Value): void {
    this.variables.set(name, value);
  }
}

/** `target = value` in a scope. Throws like Python when a tuple does not fit. */
export function assign(target: Target, value: Value, scope: Scope, runtime: Runtime): void {
  if (target.kind === 'name') {
    scope.set(target.name, value);
  } else if (target.kind === 'field') {
    const namespace = scope.get(target.namespace);
    if (namespace instanceof Namespace) namespace.fields.set(target.name, value);
    else typeError('cannot assign attribute on non-namespace object');
  } else {
    const values = iterate(value, runtime);
    const [wanted, found] = [target.items.length, values.length];
    if (found < wanted) valueError(`not enough values to unpack (expected ${wanted}, got ${found})`);
    if (found > wanted) valueError(`too many values to unpack (expected ${wanted})`);
    for (const [i, item] of target.items.entries()) assign(item, values[i] as Value, scope, runtime);
  }
}
