/**
 * @file Finds tokens by their bytes. All bytes are in one array and tokens are found by hashing bytes, so that 150,000 tokens need no
 * strings on the heap. Knows nothing of what the bytes mean.
 */
import { TokenizerError } from './errors.ts';

/** Entries of a trained tokenizer take one or two steps each; where they take more than this, they were chosen to be slow. */
export const maxSteps = (numEntries: number): number => 16 * numEntries + 1000;

/** The smallest power of two that is at least `n`. */
export const powerOfTwo = (n: number): number => 2 ** Math.ceil(Math.log2(Math.max(n, 2)));

/** FNV-1a, so far; `state` is that of the bytes before. */
export function hashBytes(bytes: Uint8Array, start: number, end: number, state = 0x811c9dc5 | 0): number {
  let hash = state;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  return hash;
}

/** The high bits brought down, because tables use the low ones. */
export const endHash = (state: number): number => state ^ (state >>> 15);

export class TokenIndex {
  /** The bytes of all tokens: those of an id are in bytes[offsets[id], offsets[id + 1]). */
  readonly bytes: Uint8Array;
  readonly offsets: Uint32Array;
  /** Open addressing: id + 1, or 0. */
  readonly slots: Int32Array;
  private readonly mask: number;
  private numStepsLeft: number;

  /** @param capacity how many tokens will be added. */
  constructor(bytes: Uint8Array, offsets: Uint32Array, capacity: number) {
    this.bytes = bytes;
    this.offsets = offsets;
    this.slots = new Int32Array(powerOfTwo(capacity * 1.5));
    this.mask = this.slots.length - 1;
    this.numStepsLeft = maxSteps(capacity);
  }

  /** Lets a token be found by its bytes, which no other has. */
  add(id: number): void {
    const { slots, mask } = this;
    let slot = endHash(hashBytes(this.bytes, this.offsets[id]!, this.offsets[id + 1]!)) & mask;
    for (; slots[slot] !== 0; slot = (slot + 1) & mask) this.numStepsLeft--;
    slots[slot] = id + 1;
    if (this.numStepsLeft >= 0) return;
    throw new TokenizerError(
      'model.vocab has tokens that were chosen to be slow to find; supported: the vocabulary of a trained tokenizer',
    );
  }

  /** The token that has bytes[start, end), or -1. */
  find(bytes: Uint8Array, start: number, end: number): number {
    const { slots, mask } = this;
    const hash = endHash(hashBytes(bytes, start, end));
    for (let slot = hash & mask; slots[slot] !== 0; slot = (slot + 1) & mask) {
      const id = slots[slot]! - 1;
      if (this.numBytes(id) === end - start && this.hasAt(this.offsets[id]!, bytes, start, end)) return id;
    }
    return -1;
  }

  numBytes(id: number): number {
    return this.offsets[id + 1]! - this.offsets[id]!;
  }

  /** Whether bytes[start, end) are also from `at` on in the bytes of tokens. */
  hasAt(at: number, bytes: Uint8Array, start: number, end: number): boolean {
    const own = this.bytes;
    for (let i = start; i < end; i++) if (bytes[i] !== own[at++]) return false;
    return true;
  }
}
