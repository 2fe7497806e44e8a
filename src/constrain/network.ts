/**
 * @file Expressions as a network of nodes: edges over bytes, steps without a byte, calls of other rules, counted loops. Knows
 * nothing of how one is built, and nothing of states or tokens.
 */

/** A call of a rule, and where it goes on. */
export interface Call {
  readonly rule: number;
  readonly returnTo: number;
}

/**
 * `min` to `max` turns of a rule. Its nodes are numbers only: `first + i` after i turns, then `never` (more turns are needed
 * than any token has) and `free` (it may end at any turn, and go on for longer than any token).
 */
export interface Loop {
  readonly first: number;
  readonly rule: number;
  readonly min: number;
  /** Infinity: after `min` turns they are no longer counted. */
  max: number;
  readonly exit: number;
  readonly never: number;
  readonly free: number;
}

export interface Node {
  /** Triples: first byte class, last byte class, next node. */
  edges: number[];
  epsilons: number[];
  calls: Call[];
}

export interface Network {
  readonly nodes: readonly Node[];
  readonly loops: readonly Loop[];
  /** Of all rules; rule 0 is the start. */
  readonly entries: readonly number[];
  readonly finals: ReadonlySet<number>;
  /** Whether the rule can be long (see MAX_INLINE_BYTES). */
  readonly isLong: readonly boolean[];
  readonly classOfByte: Uint8Array;
  readonly numClasses: number;
  /** One more than the highest node, including those of loops. */
  readonly numPositions: number;
}

/** The loop that a node belongs to. @param node one from `nodes.length` on */
export function loopOf({ loops }: Network, node: number): Loop {
  let low = 0;
  let high = loops.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (loops[middle]!.first <= node) low = middle;
    else high = middle - 1;
  }
  return loops[low]!;
}
