/** @file The list of ops while rules rewrite it: what a rule is, and the questions that rules ask. Knows no rule. */
import {
  baseOf,
  type Graph,
  type Op,
  type OpKind,
  type OpOf,
  opInputs,
  opOutputs,
  type Tensor,
} from './graph.ts';

/** Up to so many rows the matvec kernels are used, which take a folded norm, and attention is split over the context. */
export const FEW_ROWS = 16;

/** Looks at one op and its neighbours, and either leaves the list alone or rewrites it. */
export interface Rule<K extends OpKind = OpKind> {
  readonly name: string;
  readonly kind: K;
  apply(op: OpOf<K>, ops: OpList): void;
}

/** The ops being rewritten, with the questions that rules ask; who makes and who reads a tensor is kept in maps, since large models have thousands of ops. */
export class OpList {
  readonly graph: Graph;
  readonly keep: ReadonlySet<Tensor>;
  readonly #producers = new Map<Tensor, Op>();
  /** By base. */
  readonly #consumers = new Map<Tensor, Set<Op>>();

  constructor(graph: Graph, keep: ReadonlySet<Tensor>) {
    this.graph = graph;
    this.keep = keep;
    for (const op of graph.ops) this.#add(op);
  }

  #add(op: Op): void {
    for (const t of opOutputs(op)) this.#producers.set(t, op);
    for (const t of opInputs(op)) {
      const users = this.#consumers.get(baseOf(t));
      if (users) users.add(op);
      else this.#consumers.set(baseOf(t), new Set([op]));
    }
  }

  #remove(op: Op): void {
    for (const t of opOutputs(op)) if (this.#producers.get(t) === op) this.#producers.delete(t);
    for (const t of opInputs(op)) this.#consumers.get(baseOf(t))?.delete(op);
  }

  producer(t: Tensor): Op | undefined {
    return this.#producers.get(t);
  }

  producedBy<K extends OpKind>(kind: K, t: Tensor): OpOf<K> | undefined {
    const op = this.producer(t);
    return op?.kind === kind ? (op as OpOf<K>) : undefined;
  }

  consumers(t: Tensor): Op[] {
    return [...(this.#consumers.get(baseOf(t)) ?? [])];
  }

  /** Only `op` reads it, and the host does not. */
  isOnlyFor(t: Tensor, op: Op): boolean {
    const users = this.consumers(t);
    return !this.keep.has(baseOf(t)) && users.length === 1 && users[0] === op;
  }

  /** Puts `next` where the last of `old` stood and removes all of `old` that is not among them. */
  replace(old: readonly Op[], ...next: Op[]): void {
    const { ops } = this.graph;
    const at = Math.max(...old.map((o) => ops.indexOf(o)));
    ops.splice(at, 1, ...next);
    for (const o of old) {
      const index = ops.indexOf(o);
      if (index >= 0 && !next.includes(o)) ops.splice(index, 1);
    }
    for (const op of old) this.#remove(op);
    for (const op of next) this.#add(op);
  }
}
