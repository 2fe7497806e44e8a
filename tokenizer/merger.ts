/**
 * @file Merges a row of tokens by rules, lowest rank first and leftmost among equals. Knows neither bytes nor characters: whoever
 * makes the first tokens owns what they stand for.
 */
/** The rank of a pair that has no rule: higher than all ranks. */
export const NO_MERGE = 0x7fff_ffff;

/** Which two neighbours become one token, and which go first. */
export interface MergeRules {
  /** The rank of a pair (lower ranks go first), or NO_MERGE. */
  rank(left: number, right: number): number;
  /** The token that a pair of this rank makes. */
  mergedId(rank: number, left: number, right: number): number;
  /** An empty queue for a row of `numTokens`. */
  createQueue(numTokens: number): PairQueue;
}

/** Pairs that can be merged, by their left position: the lowest rank first, then from left to right. */
export interface PairQueue {
  push(rank: number, position: number): void;
  /** The lowest rank, or -1 when the queue is empty. */
  lowestRank(): number;
  /** Takes out the leftmost position of the lowest rank. */
  pop(): number;
}

/** Up to this many tokens the lowest rank is searched in a plain list; for more, a queue keeps the time at n log n. */
const MAX_SCANNED = 96;

export class Merger {
  /** The row: filled by the caller, up to a length that it has reserved. */
  tokens = new Int32Array(1024);
  /** The rank of each token with its right neighbour. */
  private ranks = new Int32Array(1024);
  private readonly rules: MergeRules;

  constructor(rules: MergeRules) {
    this.rules = rules;
  }

  /** Makes room for a row of `numTokens`; what was in it is lost. */
  reserve(numTokens: number): void {
    if (numTokens <= this.tokens.length) return;
    this.tokens = new Int32Array(numTokens);
    this.ranks = new Int32Array(numTokens);
  }

  /** Merges the first `numTokens` of the row in place and returns how many are left. */
  merge(numTokens: number): number {
    if (numTokens === 0) return 0;
    const { tokens, ranks, rules } = this;
    for (let i = 0; i + 1 < numTokens; i++) ranks[i] = rules.rank(tokens[i]!, tokens[i + 1]!);
    ranks[numTokens - 1] = NO_MERGE;
    return numTokens <= MAX_SCANNED ? this.mergeByScan(numTokens) : this.mergeByQueue(numTokens);
  }

  private mergeByScan(numTokens: number): number {
    const { tokens, ranks, rules } = this;
    for (;;) {
      let best = 0;
      let bestRank = ranks[0]!;
      for (let i = 1; i < numTokens; i++) {
        if (ranks[i]! < bestRank) {
          bestRank = ranks[i]!;
          best = i;
        }
      }
      if (bestRank === NO_MERGE) return numTokens;
      numTokens--;
      tokens[best] = rules.mergedId(bestRank, tokens[best]!, tokens[best + 1]!);
      for (let i = best + 1; i < numTokens; i++) {
        tokens[i] = tokens[i + 1]!;
        ranks[i] = ranks[i + 1]!;
      }
      ranks[best] = best + 1 < numTokens ? rules.rank(tokens[best]!, tokens[best + 1]!) : NO_MERGE;
      if (best > 0) ranks[best - 1] = rules.rank(tokens[best - 1]!, tokens[best]!);
    }
  }

  /** The same for long rows, with a linked list of tokens and a queue of the pairs that can be merged. */
  private mergeByQueue(numFirst: number): number {
    const { tokens, ranks, rules } = this;
    const next = new Int32Array(numFirst);
    const previous = new Int32Array(numFirst);
    const queue = rules.createQueue(numFirst);
    for (let i = 0; i < numFirst; i++) {
      next[i] = i + 1;
      previous[i] = i - 1;
      if (ranks[i] !== NO_MERGE) queue.push(ranks[i]!, i);
    }
    const updateRank = (left: number, right: number): void => {
      const rank = right < numFirst ? rules.rank(tokens[left]!, tokens[right]!) : NO_MERGE;
      ranks[left] = rank;
      if (rank !== NO_MERGE) queue.push(rank, left);
    };
    for (let rank = queue.lowestRank(); rank >= 0; rank = queue.lowestRank()) {
      const position = queue.pop();
      // If the rank of a pair has changed since, one of its tokens was merged with a neighbour.
      if (ranks[position] !== rank) continue;
      const removed = next[position]!;
      const after = next[removed]!;
      tokens[position] = rules.mergedId(rank, tokens[position]!, tokens[removed]!);
      ranks[removed] = NO_MERGE;
      next[position] = after;
      if (after < numFirst) previous[after] = position;
      // From left to right, as the queue wants it.
      if (position > 0) updateRank(previous[position]!, position);
      updateRank(position, after);
    }
    let numTokens = 0;
    for (let i = 0; i < numFirst; i = next[i]!) tokens[numTokens++] = tokens[i]!;
    return numTokens;
  }
}
