import { expect, it } from 'vitest';
import { groupEntries as variants } from '../../kernels/experts/group-entries.ts';
import { createTensor, type Graph, record } from '../../src/graph/graph.ts';
import { groupEntries as reference } from '../reference/group-entries.ts';
import { freshSeed, type Outcome, POISON, runVariants, seededRandom } from './harness.ts';

interface Size {
  rows: number;
  stepRows: number;
  k: number;
  numExperts: number;
  tileRows: number;
}

const COLUMN_TILES = 7;

const run = ({ rows, stepRows, k, numExperts, tileRows }: Size, experts: Uint32Array): Promise<Outcome[]> =>
  runVariants(variants, {
    record(graph: Graph) {
      const u32 = (shape: number[]) => createTensor(graph, shape, { dtype: 'u32' });
      record(graph, {
        kind: 'groupEntries',
        scope: '',
        inputs: { experts: u32([rows, k]) },
        weights: {},
        attrs: { numExperts, tileRows, columnTiles: COLUMN_TILES },
        outputs: {
          entries: u32([rows * k]),
          // As many as the fusion rule makes.
          tiles: u32([Math.min(rows * k, Math.floor((rows * k) / tileRows) + numExperts), 4]),
          dispatch: u32([4]),
        },
      });
    },
    data: { experts },
    batch: { rows: stepRows },
  });

function check({ label, outputs }: Outcome, size: Size, experts: Uint32Array, seed: number): void {
  const where = `${label}, seed ${seed}, ${JSON.stringify(size)}`;
  const wanted = reference(experts, size.numExperts, size.tileRows);
  const numTiles = wanted.tiles.length;
  const numEntries = wanted.entries.length;
  expect([...outputs.dispatch!], where).toEqual([COLUMN_TILES, numTiles, 1, 0]);
  expect([...outputs.tiles!.subarray(0, 4 * numTiles)], where).toEqual(
    wanted.tiles.flatMap((t) => [...t, 0]),
  );
  const entries = [...outputs.entries!.subarray(0, numEntries)];
  expect(
    entries.map((e) => experts[e]),
    where,
  ).toEqual(wanted.entries.map((e) => experts[e]));
  // The order within an expert is free.
  expect(
    entries.sort((a, b) => experts[a]! - experts[b]! || a - b),
    where,
  ).toEqual(wanted.entries);
  for (const rest of [outputs.tiles!.subarray(4 * numTiles), outputs.entries!.subarray(numEntries)]) {
    expect(
      rest.every((word) => word === POISON),
      where,
    ).toBe(true);
  }
}

it('sorts the entries of a step by expert and tiles them, with any number of experts', async () => {
  const seed = freshSeed();
  const random = seededRandom(seed);
  for (const size of [
    { rows: 4096, stepRows: 4095, k: 8, numExperts: 128, tileRows: 32 },
    { rows: 130, stepRows: 67, k: 16, numExperts: 512, tileRows: 32 },
    { rows: 9, stepRows: 1, k: 3, numExperts: 10, tileRows: 16 },
    { rows: 33, stepRows: 31, k: 6, numExperts: 7, tileRows: 13 },
  ]) {
    // Some experts get most of the entries and some get none.
    const pick = (): number => Math.floor(size.numExperts * random() ** 3);
    const experts = Uint32Array.from({ length: size.stepRows * size.k }, pick);
    for (const outcome of await run(size, experts)) check(outcome, size, experts, seed);
  }
});

it('gives all entries to one expert, and none to an expert that does not exist', async () => {
  const size = { rows: 70, stepRows: 69, k: 2, numExperts: 60, tileRows: 32 };
  const length = size.stepRows * size.k;
  for (const expert of [0, 59]) {
    const experts = new Uint32Array(length).fill(expert);
    for (const outcome of await run(size, experts)) check(outcome, size, experts, 0);
  }
  const outside = Uint32Array.from({ length }, (_, i) => [3, 60, 0xffffffff, 0][i % 4]!);
  for (const outcome of await run(size, outside)) check(outcome, size, outside, 0);
});
