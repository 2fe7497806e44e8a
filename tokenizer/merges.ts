/**
 * @file The merge rules of a BPE model: (left id, right id) -> rank, and rank -> merged id, in one open-addressing table of
 * integers. Reads both spellings of tokenizer.json, "a b" and ["a", "b"].
 */
import { TokenizerError } from './errors.ts';
import { describe, readArray, unsupported } from './json.ts';
import { MergeQueue } from './merge-queue.ts';
import { type MergeRules, NO_MERGE, type PairQueue } from './merger.ts';
import { maxSteps, powerOfTwo } from './token-index.ts';

/** Where the tokens of rules are looked up. */
interface TokenLookup {
  /** Writes what a token of this text is found by to `out` from `at` on, at most three bytes a UTF-16 unit, and returns where it ends; -1: there is none. */
  write(text: string, out: Uint8Array, at: number): number;
  /** The token found by bytes[start, end), or -1. */
  findBytes(bytes: Uint8Array, start: number, end: number): number;
}

const hashPair = (left: number, right: number): number => {
  const hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
  return hash ^ (hash >>> 15);
};

export class MergeTable implements MergeRules {
  /** Three integers an entry: left id + 1 (0: empty), right id, rank. */
  private readonly entries: Int32Array;
  private readonly mask: number;
  private readonly mergedIds: Int32Array;
  /** How often an entry was not where it was looked for first. */
  private numSteps = 0;
  private readonly numRanks: number;

  /**
   * @param merges `model.merges` of tokenizer.json, best rule first. A pair listed twice has its last rank.
   * @param mayMake which tokens may be made; rules that make another are left out.
   * @throws TokenizerError for a rule that is not a pair of tokens, or whose parts or result are not in the vocabulary.
   */
  constructor(merges: unknown, vocabulary: TokenLookup, mayMake: (id: number) => boolean = () => true) {
    const rules = readArray(merges, 'model.merges');
    this.numRanks = rules.length;
    const numSlots = powerOfTwo(rules.length * 1.5);
    this.entries = new Int32Array(numSlots * 3);
    this.mask = numSlots - 1;
    this.mergedIds = new Int32Array(rules.length);
    let bytes = new Uint8Array(256);
    for (let rank = 0; rank < rules.length; rank++) {
      const rule = rules[rank];
      let left: unknown;
      let right: unknown;
      if (typeof rule === 'string') {
        [left, right] = rule.split(' ', 3).length === 2 ? rule.split(' ') : [];
      } else if (Array.isArray(rule) && rule.length === 2) {
        left = rule[0];
        right = rule[1];
      }
      if (typeof left !== 'string' || typeof right !== 'string' || left === '' || right === '') {
        throw unsupported(`model.merges[${rank}]`, rule, 'two tokens as "a b" or ["a", "b"]');
      }
      const room = (left.length + right.length) * 3;
      if (room > bytes.length) bytes = new Uint8Array(room * 2);
      const middle = vocabulary.write(left, bytes, 0);
      const end = middle < 0 ? -1 : vocabulary.write(right, bytes, middle);
      const leftId = vocabulary.findBytes(bytes, 0, middle);
      const rightId = end < 0 ? -1 : vocabulary.findBytes(bytes, middle, end);
      const mergedId = end < 0 ? -1 : vocabulary.findBytes(bytes, 0, end);
      if (leftId < 0 || rightId < 0 || mergedId < 0) {
        const missing = leftId < 0 ? left : rightId < 0 ? right : left + right;
        throw new TokenizerError(
          `model.merges[${rank}] merges ${describe(left)} and ${describe(right)}, but ${describe(missing)} is not a ` +
            'token that model.vocab gives to text; supported: rules whose parts and result are in the vocabulary',
        );
      }
      if (!mayMake(mergedId)) continue;
      this.mergedIds[rank] = mergedId;
      const at = this.find(leftId, rightId);
      if (this.numSteps > maxSteps(rules.length)) {
        throw new TokenizerError(
          'model.merges has pairs of ids that were chosen to be slow to find; supported: the merges of a trained tokenizer',
        );
      }
      this.entries[at] = leftId + 1;
      this.entries[at + 1] = rightId;
      this.entries[at + 2] = rank;
    }
  }

  /** The rank of the rule that merges two tokens (lower ranks go first), or NO_MERGE. */
  rank(left: number, right: number): number {
    const at = this.find(left, right);
    return this.entries[at] === 0 ? NO_MERGE : this.entries[at + 2]!;
  }

  /** The token that the rule of this rank makes. */
  mergedId(rank: number): number {
    return this.mergedIds[rank]!;
  }

  createQueue(numTokens: number): PairQueue {
    return new MergeQueue(this.numRanks, 3 * numTokens);
  }

  /** Where the entry of a pair is, or the empty place where it would be. */
  private find(left: number, right: number): number {
    const { entries, mask } = this;
    for (let slot = hashPair(left, right) & mask; ; slot = (slot + 1) & mask) {
      const at = slot * 3;
      if (entries[at] === 0 || (entries[at] === left + 1 && entries[at + 1] === right)) return at;
      this.numSteps++;
    }
  }
}
