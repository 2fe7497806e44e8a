/**
 * @file Parts of a stored block, brought into the order of a section: bytes as they are, or bits so that four values lie in the bytes of one
 * word. It knows no types.
 */

/** Where a section's bytes go, also as words. */
export interface Target {
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
}

/** Writes what the block at bytes[at] gives from byte `to` of the target on. */
export type Write = (bytes: Uint8Array, at: number, target: Target, to: number) => void;

/** Blocks lie anywhere, not at multiples of 4. */
const wordAt = (bytes: Uint8Array, at: number): number =>
  bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);

export const copy =
  (from: number, count: number): Write =>
  (bytes, at, target, to) => {
    for (let i = 0; i < count; i++) target.bytes[to + i] = bytes[at + from + i]!;
  };

/**
 * Numbers of 4 bits, as Q4_K has them from byte `from` on: of every 32 bytes the low halves are a block, the high halves the next. Each
 * block's 32 numbers come together: the first 16 in the low halves of 16 bytes.
 */
export const nibbles =
  (from: number): Write =>
  (bytes, at, target, to) => {
    for (let pair = 0; pair < 4; pair++) {
      for (let w = 0; w < 4; w++) {
        const a = wordAt(bytes, at + from + 32 * pair + 4 * w);
        const b = wordAt(bytes, at + from + 32 * pair + 16 + 4 * w);
        const word = to / 4 + 8 * pair + w;
        target.words[word] = (a & 0x0f0f0f0f) | ((b & 0x0f0f0f0f) << 4);
        target.words[word + 4] = ((a >>> 4) & 0x0f0f0f0f) | (b & 0xf0f0f0f0);
      }
    }
  };

/** The same of Q6_K: of every 64 bytes the low halves are two blocks, the high halves the next two. */
export const nibblesOfSix =
  (from: number): Write =>
  (bytes, at, target, to) => {
    for (let block = 0; block < 8; block++) {
      const begin = at + from + 64 * (block >> 2) + 32 * (block & 1);
      const shift = 4 * ((block >> 1) & 1);
      for (let w = 0; w < 4; w++) {
        const a = (wordAt(bytes, begin + 4 * w) >>> shift) & 0x0f0f0f0f;
        const b = (wordAt(bytes, begin + 16 + 4 * w) >>> shift) & 0x0f0f0f0f;
        target.words[to / 4 + 4 * block + w] = a | (b << 4);
      }
    }
  };

/** Numbers of 2 bits: of every 32 bytes bits 2k and 2k + 1 are block k. Two words to a block. */
export const bitPairs =
  (from: number): Write =>
  (bytes, at, target, to) => {
    for (let block = 0; block < 8; block++) {
      const begin = at + from + 32 * (block >> 2);
      const shift = 2 * (block & 3);
      for (let half = 0; half < 2; half++) {
        let word = 0;
        for (let w = 0; w < 4; w++) {
          word |= ((wordAt(bytes, begin + 16 * half + 4 * w) >>> shift) & 0x03030303) << (2 * w);
        }
        target.words[to / 4 + 2 * block + half] = word;
      }
    }
  };

/** Bits of 32 bytes: bit k of all of them is block k. A word to a block. */
export const singleBits =
  (from: number): Write =>
  (bytes, at, target, to) => {
    for (let block = 0; block < 8; block++) {
      let word = 0;
      for (let w = 0; w < 8; w++) {
        word |= ((wordAt(bytes, at + from + 4 * w) >>> block) & 0x01010101) << w;
      }
      target.words[to / 4 + block] = word;
    }
  };

/** 32 bits of a word, in the order of values: four neighbours go to the four bytes. */
export const fifthBits =
  (from: number): Write =>
  (bytes, at, target, to) => {
    const bits = wordAt(bytes, at + from);
    let word = 0;
    for (let w = 0; w < 8; w++) {
      // Bit i of four to bit 8 i: a copy for each, 7 bits apart.
      word |= ((((bits >>> (4 * w)) & 15) * 0x00204081) & 0x01010101) << w;
    }
    target.words[to / 4] = word;
  };
