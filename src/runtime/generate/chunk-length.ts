/** @file How long chunks of prompts are: as long as a pass takes, and shorter while they hold up those who decode for too long. */

/** Milliseconds that a chunk may hold up those who decode. */
const CHUNK_TIME = 50;
const LEAST_CHUNK = 32;

export class ChunkLength {
  readonly #most: number;
  #besideOthers: number;

  /** @param most rows of a pass */
  constructor(most: number) {
    this.#most = most;
    this.#besideOthers = most;
  }

  /** Rows of a chunk. */
  length(hasOthers: boolean): number {
    return hasOthers ? this.#besideOthers : this.#most;
  }

  /** Rows from a position on: up to the next multiple of the length, so that borders do not depend on where a chunk began. */
  rowsFrom(begin: number, end: number, hasOthers: boolean): number {
    const length = this.length(hasOthers);
    return Math.min(end, (Math.floor(begin / length) + 1) * length) - begin;
  }

  /** A chunk took so many milliseconds. */
  measured(rows: number, taken: number): void {
    if (rows < this.#besideOthers) return;
    const time = (taken * this.#besideOthers) / rows;
    if (time > CHUNK_TIME && this.#besideOthers >= 2 * LEAST_CHUNK) this.#besideOthers /= 2;
    else if (time < CHUNK_TIME / 4 && this.#besideOthers < this.#most) this.#besideOthers *= 2;
  }
}
