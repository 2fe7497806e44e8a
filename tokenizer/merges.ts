/**
 * @file The merge rules of a BPE model: (left id, right id) -> rank, and rank -> merged id, in one open-addressing table of
 * integers. Reads both spellings of tokenizer.json, "a b" and ["a", "b"].
 */
import { writeAlphabetBytes } from './byte-alphabet.ts';
import { TokenizerError } from './errors.ts';
import { describe, readArray, unsupported } from './json.ts';
import { powerOfTwo, type Vocabulary } from './vocabulary.ts';

/** The rank of a pair that has no rule: higher than all ranks. */
export const NO_MERGE = 0x7fff_ffff;

const hashPair = (left: number, right: number): number => {
  const hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
  return hash ^ (hash >>> 15);
};

export class MergeTable {
  /** Three integers an entry: left id + 1 (0: empty), right id, rank. */
  private readonly entries: Int32Array;
  private readonly mask: number;
  private readonly mergedIds: Int32Array;
  /** Higher than all ranks. */
  readonly numRanks: number;

  /**
   * @param merges `model.merges` of tokenizer.json, best rule first. A pair listed twice has its last rank.
   * @throws TokenizerError for a rule that is not a pair of tokens, or whose parts or result are not in the vocabulary.
   */
  constructor(merges: unknown, vocabulary: Vocabulary) {
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
        const space = rule.indexOf(' ');
        left = rule.slice(0, Math.max(space, 0));
        right = rule.slice(space + 1);
      } else if (Array.isArray(rule) && rule.length === 2) {
        left = rule[0];
        right = rule[1];
      }
      if (typeof left !== 'string' || typeof right !== 'string' || left === '' || right === '') {
        throw unsupported(`model.merges[${rank}]`, rule, 'two tokens as "a b" or ["a", "b"]');
      }
      const numLeft = left.length;
      const numBytes = numLeft + right.length;
      if (numBytes > bytes.length) bytes = new Uint8Array(numBytes * 2);
      const isByteLevel = writeAlphabetBytes(left, bytes, 0) && writeAlphabetBytes(right, bytes, numLeft);
      const leftId = isByteLevel ? vocabulary.findBytes(bytes, 0, numLeft) : -1;
      const rightId = isByteLevel ? vocabulary.findBytes(bytes, numLeft, numBytes) : -1;
      const mergedId = isByteLevel ? vocabulary.findBytes(bytes, 0, numBytes) : -1;
      if (leftId < 0 || rightId < 0 || mergedId < 0) {
        const missing = leftId < 0 ? left : rightId < 0 ? right : left + right;
        throw new TokenizerError(
          `model.merges[${rank}] merges ${describe(left)} and ${describe(right)}, but ${describe(missing)} is not a ` +
            'byte-level token of model.vocab; supported: rules whose parts and result are in the vocabulary',
        );
      }
      this.mergedIds[rank] = mergedId;
      const at = this.find(leftId, rightId);
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

  /** Where the entry of a pair is, or the empty place where it would be. */
  private find(left: number, right: number): number {
    const { entries, mask } = this;
    for (let slot = hashPair(left, right) & mask; ; slot = (slot + 1) & mask) {
      const at = slot * 3;
      if (entries[at] === 0 || (entries[at] === left + 1 && entries[at + 1] === right)) return at;
    }
  }
}
