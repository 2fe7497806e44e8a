/**
 * @file Remembers the ids of words already split by BPE. Bounded: when it is full it starts again. Words are kept as UTF-16
 * units in typed arrays, because a Map of substrings would keep every encoded text alive and hash slower.
 */
import type { IdList } from './id-list.ts';

const MAX_WORDS = 2 ** 16;
const MAX_UNITS = MAX_WORDS * 8;
const MAX_IDS = MAX_WORDS * 3;
const SLOT_MASK = MAX_WORDS * 2 - 1;
/** Longer words rarely come twice. */
const MAX_WORD_UNITS = 64;

export class WordCache {
  /** Open addressing: word number + 1, or 0. */
  private readonly slots = new Int32Array(SLOT_MASK + 1);
  private readonly hashes = new Int32Array(MAX_WORDS);
  /** Word number n is in units[unitStarts[n], unitStarts[n + 1]) and has ids[idStarts[n], idStarts[n + 1]). */
  private readonly unitStarts = new Uint32Array(MAX_WORDS + 1);
  private readonly idStarts = new Uint32Array(MAX_WORDS + 1);
  private readonly units = new Uint16Array(MAX_UNITS);
  private readonly ids = new Uint32Array(MAX_IDS);
  private numWords = 0;
  /** Where the last search ended: the hash and free slot for `add`. */
  private hash = 0;
  private slot = 0;

  /** Appends the ids of the word text[start, end) to `out`; false if it is not known. */
  find(text: string, start: number, end: number, out: IdList): boolean {
    let hash = end - start;
    for (let i = start; i < end; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    hash ^= hash >>> 15;
    const { slots, hashes, unitStarts, units } = this;
    let slot = hash & SLOT_MASK;
    for (; slots[slot] !== 0; slot = (slot + 1) & SLOT_MASK) {
      const word = slots[slot]! - 1;
      if (hashes[word] !== hash) continue;
      let at = unitStarts[word]!;
      if (unitStarts[word + 1]! - at !== end - start) continue;
      let i = start;
      while (i < end && text.charCodeAt(i) === units[at]) {
        i++;
        at++;
      }
      if (i < end) continue;
      for (let j = this.idStarts[word]!; j < this.idStarts[word + 1]!; j++) out.push(this.ids[j]!);
      return true;
    }
    this.hash = hash;
    this.slot = slot;
    return false;
  }

  /** Keeps the ids that `out` holds from `firstId` on for the word text[start, end), which `find` has just missed. */
  add(text: string, start: number, end: number, out: IdList, firstId: number): void {
    const numUnits = end - start;
    if (numUnits > MAX_WORD_UNITS) return;
    const word = this.numWords;
    const unitStart = this.unitStarts[word]!;
    const idStart = this.idStarts[word]!;
    if (word === MAX_WORDS || unitStart + numUnits > MAX_UNITS || idStart + out.length - firstId > MAX_IDS) {
      this.slots.fill(0);
      this.numWords = 0;
      return;
    }
    for (let i = 0; i < numUnits; i++) this.units[unitStart + i] = text.charCodeAt(start + i);
    for (let j = firstId; j < out.length; j++) this.ids[idStart + j - firstId] = out.at(j);
    this.unitStarts[word + 1] = unitStart + numUnits;
    this.idStarts[word + 1] = idStart + out.length - firstId;
    this.hashes[word] = this.hash;
    this.slots[this.slot] = word + 1;
    this.numWords++;
  }
}
