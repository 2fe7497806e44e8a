/** @file Ranges of code points as sequences of byte ranges in UTF-8. Knows nothing else. */
import type { CodeRange } from './expression.ts';

export type ByteRange = readonly [first: number, last: number];

/** The last code point of each length. */
const LAST_OF_LENGTH = [0x7f, 0x7ff, 0xffff, 0x10ffff];

/** Sequences of byte ranges that spell exactly these characters in UTF-8. The ranges hold no surrogates. */
export function utf8Sequences(ranges: readonly CodeRange[]): ByteRange[][] {
  const out: ByteRange[][] = [];
  for (const [first, last] of ranges) {
    let start = first;
    for (const limit of LAST_OF_LENGTH) {
      if (start > limit || start > last) continue;
      addSequences(start, Math.min(last, limit), out);
      start = limit + 1;
    }
  }
  return out;
}

/** Both ends have the same length. Cuts until every byte after the first differing one covers all of 80..BF. */
function addSequences(first: number, last: number, out: ByteRange[][]): void {
  for (let bits = 6; bits <= 18; bits += 6) {
    const mask = (1 << bits) - 1;
    if (first >>> bits === last >>> bits) break;
    if ((first & mask) !== 0) {
      addSequences(first, first | mask, out);
      addSequences((first | mask) + 1, last, out);
      return;
    }
    if ((last & mask) !== mask) {
      addSequences(first, (last & ~mask) - 1, out);
      addSequences(last & ~mask, last, out);
      return;
    }
  }
  const low = spell(first);
  const high = spell(last);
  out.push(low.map((byte, i): ByteRange => [byte, high[i]!]));
}

function spell(code: number): number[] {
  if (code <= 0x7f) return [code];
  const tail = (shift: number) => 0x80 | ((code >>> shift) & 0x3f);
  if (code <= 0x7ff) return [0xc0 | (code >>> 6), tail(0)];
  if (code <= 0xffff) return [0xe0 | (code >>> 12), tail(6), tail(0)];
  return [0xf0 | (code >>> 18), tail(12), tail(6), tail(0)];
}
