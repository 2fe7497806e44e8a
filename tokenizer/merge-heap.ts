/** @file A binary heap of (rank, position) pairs, each packed in one double so that comparing numbers orders them. */

/** Ranks lie below this, so that a packed pair stays an exact integer. */
export const MAX_RANKS = 2 ** 21;
const POSITIONS = 2 ** 32;

export class MergeHeap {
  size = 0;
  private readonly pairs: Float64Array;

  /** @param capacity the most pairs it will ever hold at once. */
  constructor(capacity: number) {
    this.pairs = new Float64Array(capacity);
  }

  push(rank: number, position: number): void {
    const { pairs } = this;
    const pair = rank * POSITIONS + position;
    let at = this.size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (pairs[parent]! <= pair) break;
      pairs[at] = pairs[parent]!;
      at = parent;
    }
    pairs[at] = pair;
  }

  /** Takes out the lowest rank, at the leftmost position among equals. The pair comes packed: rankOf and positionOf read it. */
  pop(): number {
    const { pairs } = this;
    const top = pairs[0]!;
    const size = --this.size;
    const pair = pairs[size]!;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && pairs[child + 1]! < pairs[child]!) child++;
      if (pairs[child]! >= pair) break;
      pairs[at] = pairs[child]!;
      at = child;
    }
    pairs[at] = pair;
    return top;
  }
}

export const rankOf = (pair: number): number => Math.floor(pair / POSITIONS);
/** Not by %, which is slow for doubles. */
export const positionOf = (pair: number): number => pair - rankOf(pair) * POSITIONS;
