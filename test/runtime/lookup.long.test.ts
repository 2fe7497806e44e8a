import { expect, it } from 'vitest';
import { createLookup } from '../../src/runtime/generate/lookup.ts';

it('reads no earlier ids again to propose what follows 300,000 that never repeat', () => {
  const lookup = createLookup();
  const numIds = 300_000;
  let numProposed = 0;
  for (let id = 0; id < numIds; id++) {
    lookup.push(id);
    numProposed += lookup.propose(7).length;
  }
  // An index takes a second or so. A search would read all ids for each: minutes, and the test runner gives up before.
  expect(numProposed).toBe(0);
  lookup.push(7);
  lookup.push(8);
  expect(lookup.propose(2)).toEqual([9, 10]);
});
