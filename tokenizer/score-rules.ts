/**
 * @file Merging as SentencePiece does: any two neighbours may become one where their texts together are a token, the one with the
 * highest score first. Knows nothing of text.
 */
import { TokenizerError } from './errors.ts';
import { readArray, unsupported } from './json.ts';
import { type MergeRules, NO_MERGE, type PairQueue } from './merger.ts';
import { endHash, hashBytes, type TokenIndex } from './token-index.ts';

export class ScoreRules implements MergeRules {
  private readonly index: TokenIndex;
  /** The hash of each token's bytes, to be gone on with. */
  private readonly states: Int32Array;
  /** Of each token: 0 for the highest score; NO_MERGE for a token that is no part and no result of merging. */
  private readonly ranks: Int32Array;

  /**
   * @param scores the score of each id.
   * @param isMerged whether an id may be a part or a result.
   */
  constructor(scores: unknown, size: number, index: TokenIndex, isMerged: (id: number) => boolean) {
    const all = readArray(scores, 'model.scores');
    if (all.length < size) {
      throw new TokenizerError(
        `model.scores has ${all.length} scores for ids up to ${size - 1}; supported: a score for each id`,
      );
    }
    const numbers = Float64Array.from(all, (score, id) => {
      if (typeof score !== 'number' || Number.isNaN(score)) {
        throw unsupported(`model.scores[${id}]`, score, 'a number');
      }
      return -score;
    });
    const lower = new Map<number, number>();
    for (const number of numbers.slice().sort()) if (!lower.has(number)) lower.set(number, lower.size);
    this.ranks = Int32Array.from({ length: size }, (_, id) =>
      isMerged(id) ? lower.get(numbers[id]!)! : NO_MERGE,
    );
    this.index = index;
    const { bytes, offsets } = index;
    this.states = Int32Array.from({ length: size }, (_, id) =>
      hashBytes(bytes, offsets[id]!, offsets[id + 1]!),
    );
  }

  rank(left: number, right: number): number {
    const { ranks } = this;
    if (ranks[left] === NO_MERGE || ranks[right] === NO_MERGE) return NO_MERGE;
    const id = this.findJoined(left, right);
    return id < 0 ? NO_MERGE : ranks[id]!;
  }

  mergedId(_rank: number, left: number, right: number): number {
    return this.findJoined(left, right);
  }

  createQueue(numTokens: number): PairQueue {
    return new ScoreQueue(3 * numTokens);
  }

  /** The token that has the bytes of one token and then those of another, or -1. */
  private findJoined(left: number, right: number): number {
    const { index } = this;
    const { slots, bytes, offsets } = index;
    const mask = slots.length - 1;
    const [start, end] = [offsets[right]!, offsets[right + 1]!];
    const numLeft = index.numBytes(left);
    const hash = endHash(hashBytes(bytes, start, end, this.states[left]));
    for (let slot = hash & mask; slots[slot] !== 0; slot = (slot + 1) & mask) {
      const id = slots[slot]! - 1;
      const at = offsets[id]!;
      if (
        index.numBytes(id) === numLeft + end - start &&
        index.hasAt(at, bytes, offsets[left]!, offsets[left + 1]!) &&
        index.hasAt(at + numLeft, bytes, start, end)
      ) {
        return id;
      }
    }
    return -1;
  }
}

/** Above every position. */
const STEP = 2 ** 28;

/** A binary heap of rank and position in one number: pairs of one rank come in any order, for tokens may share a score. */
class ScoreQueue implements PairQueue {
  private readonly heap: Float64Array;
  private size = 0;

  /** @param capacity the most pushes there will be. */
  constructor(capacity: number) {
    this.heap = new Float64Array(capacity);
  }

  push(rank: number, position: number): void {
    const { heap } = this;
    const key = rank * STEP + position;
    let at = this.size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent]! <= key) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = key;
  }

  lowestRank(): number {
    return this.size > 0 ? Math.floor(this.heap[0]! / STEP) : -1;
  }

  pop(): number {
    const { heap } = this;
    const lowest = heap[0]!;
    const size = --this.size;
    const key = heap[size]!;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && heap[child + 1]! < heap[child]!) child++;
      if (heap[child]! >= key) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = key;
    return lowest % STEP;
  }
}
