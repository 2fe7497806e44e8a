/**
 * @file The queue of possible merges of a long word: positions ordered by the rank of their pair, then from left to right.
 *
 * The bytes of a token are merged by the same rules in the same order wherever the token stands, because nothing is
 * merged across the ends of a future token. So all pairs of one rank arise while one rule is applied to the word from left
 * to right, and can wait in a line. Only the ranks of the lines are in a binary heap.
 */
import type { PairQueue } from './merger.ts';

export class MergeQueue implements PairQueue {
  /** The ranks that have a line, as a heap. */
  private readonly heap: Int32Array;
  private size = 0;
  /** rank -> first and last entry of its line, plus 1; 0 where there is no line. */
  private readonly firsts: Int32Array;
  private readonly lasts: Int32Array;
  /** Entry -> its position, and the next entry in its line. */
  private readonly positions: Int32Array;
  private readonly followers: Int32Array;
  private numEntries = 0;

  /** @param capacity the most pushes there will be. */
  constructor(numRanks: number, capacity: number) {
    this.heap = new Int32Array(capacity);
    this.firsts = new Int32Array(numRanks);
    this.lasts = new Int32Array(numRanks);
    this.positions = new Int32Array(capacity);
    this.followers = new Int32Array(capacity);
  }

  /** Positions of one rank must come from left to right. */
  push(rank: number, position: number): void {
    const entry = this.numEntries++;
    const last = this.lasts[rank]!;
    this.positions[entry] = position;
    this.lasts[rank] = entry + 1;
    if (last > 0) {
      this.followers[last - 1] = entry;
    } else {
      this.firsts[rank] = entry + 1;
      this.addRank(rank);
    }
  }

  /** The lowest rank, or -1 when the queue is empty. */
  lowestRank(): number {
    return this.size > 0 ? this.heap[0]! : -1;
  }

  /** Takes out the leftmost position of the lowest rank. */
  pop(): number {
    const rank = this.heap[0]!;
    const first = this.firsts[rank]! - 1;
    if (first === this.lasts[rank]! - 1) {
      this.firsts[rank] = 0;
      this.lasts[rank] = 0;
      this.removeLowestRank();
    } else {
      this.firsts[rank] = this.followers[first]! + 1;
    }
    return this.positions[first]!;
  }

  private addRank(rank: number): void {
    const { heap } = this;
    let at = this.size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent]! <= rank) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = rank;
  }

  private removeLowestRank(): void {
    const { heap } = this;
    const size = --this.size;
    const rank = heap[size]!;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && heap[child + 1]! < heap[child]!) child++;
      if (heap[child]! >= rank) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = rank;
  }
}
