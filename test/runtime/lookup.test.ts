import { expect, it } from 'vitest';
import { createLookup } from '../../src/runtime/generate/lookup.ts';
import { freshSeed, seededRandom } from '../kernels/harness.ts';

function proposalsAfter(ids: readonly number[], count = 7): number[] {
  const lookup = createLookup();
  ids.forEach(lookup.push);
  return lookup.propose(count);
}

/** The rule, by search. */
function search(ids: readonly number[], count: number): number[] {
  for (const length of [4, 3, 2]) {
    for (let end = ids.length - 1; end >= length; end--) {
      const isMatch = Array.from({ length }, (_, i) => ids[end - 1 - i] === ids[ids.length - 1 - i]);
      if (ids.length < length || isMatch.includes(false)) continue;
      const found: number[] = [...ids];
      for (let i = 0; i < count; i++) found.push(found[end + i]!);
      return found.slice(ids.length);
    }
  }
  return [];
}

it('proposes what stood behind the last ids before', () => {
  expect(proposalsAfter([1, 2, 3, 4, 5, 6, 9, 1, 2], 3)).toEqual([3, 4, 5]);
  expect(proposalsAfter([1, 2, 3, 4, 9, 1, 2], 2)).toEqual([3, 4]);
  expect(proposalsAfter([1, 2, 3, 4, 5], 3)).toEqual([]);
  // One id alone says too little.
  expect(proposalsAfter([1, 2, 3, 9, 1], 3)).toEqual([]);
  expect(proposalsAfter([])).toEqual([]);
  expect(proposalsAfter([5])).toEqual([]);
  expect(proposalsAfter([1, 2, 3, 1, 2], 0)).toEqual([]);
});

it('takes the longest match, and the latest of equally long ones', () => {
  expect(proposalsAfter([7, 1, 2, 50, 1, 2, 60, 7, 1, 2], 1)).toEqual([50]);
  expect(proposalsAfter([1, 2, 50, 1, 2, 60, 3, 1, 2], 1)).toEqual([60]);
  // The match of four is older than that of three.
  expect(proposalsAfter([1, 2, 3, 4, 50, 9, 2, 3, 4, 60, 1, 2, 3, 4], 1)).toEqual([50]);
});

it('goes on with a repetition beyond its end', () => {
  expect(proposalsAfter([4, 4, 4], 5)).toEqual([4, 4, 4, 4, 4]);
  expect(proposalsAfter([8, 1, 2, 3, 1, 2, 3, 1, 2], 5)).toEqual([3, 1, 2, 3, 1]);
});

it('finds what a search of all ids finds, at every length', () => {
  const seed = freshSeed();
  const random = seededRandom(seed);
  for (const numIds of [2, 3, 10, 200_000]) {
    const lookup = createLookup();
    const ids: number[] = [];
    for (let i = 0; i < 120; i++) {
      const id = Math.floor(random() * numIds);
      // Long random ids come back from time to time.
      const next = i > 20 && random() < 0.7 ? ids[i - 17]! : id;
      ids.push(next);
      lookup.push(next);
      expect(lookup.propose(7), `seed ${seed}, ids ${ids}`).toEqual(search(ids, 7));
    }
    expect(lookup.length).toBe(120);
  }
});
