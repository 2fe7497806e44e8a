/**
 * @file Prompt lookup: guesses what follows from where the last few ids stood before. Answers that quote, edit or repeat
 * their context gain from it; no model is asked. Knows ids only. The idea: Saxena, "Prompt Lookup Decoding" (2023).
 */

/** Matches of more ids are tried first; a single id says too little. */
const LONGEST_MATCH = 4;
const SHORTEST_MATCH = 2;

export interface Lookup {
  readonly length: number;
  push(id: number): void;
  /**
   * What stood behind the latest earlier occurrence of the last 4 ids, or else of the last 3 or 2: `count` ids, or none. Where
   * that reaches the end of all ids, it goes on with itself, as in a repetition.
   */
  propose(count: number): number[];
}

/** Above any id, and small enough that a run's number times this is exact. */
const MAX_IDS = 2 ** 21;

/** An index of all runs of up to four ids, which grows with each id, so that no proposal reads them all again. */
export function createLookup(): Lookup {
  const ids: number[] = [];
  /** Runs are numbered from 1: one is the run before its last id (0 when there is none), and that id. */
  const numbers = new Map<number, number>();
  /** Number of a run -> where the id behind its latest occurrence stands. */
  const behind = new Map<number, number>();
  /** The runs in which the ids end, from one id on. */
  let ends: number[] = [];

  const numberOf = (run: number, id: number): number => {
    const key = run * MAX_IDS + id;
    const number = numbers.get(key) ?? numbers.size + 1;
    numbers.set(key, number);
    return number;
  };
  return {
    get length() {
      return ids.length;
    },
    push(id) {
      for (const run of ends.slice(SHORTEST_MATCH - 1)) behind.set(run, ids.length);
      ends = [0, ...ends].slice(0, LONGEST_MATCH).map((run) => numberOf(run, id));
      ids.push(id);
    },
    propose(count) {
      const run = ends.slice(SHORTEST_MATCH - 1).findLast((r) => behind.has(r));
      if (run === undefined) return [];
      const begin = behind.get(run)!;
      const period = ids.length - begin;
      return Array.from({ length: count }, (_, i) => ids[begin + (i % period)]!);
    },
  };
}
