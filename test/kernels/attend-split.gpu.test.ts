/** @file `attendSplit` and `attendMerge` against their f64 twins, in every tier. Unread positions of the cache and unused splits are poison throughout. */
import { describe, expect, test } from 'vitest';
import { attendPart } from '../reference/attend.ts';
import {
  caseOf,
  expectAttention,
  type HeadShape,
  randomInputs,
  runSplit,
  runSplitAndMerge,
  shapeOf,
  tolerance,
  twinOf,
  widthOf,
} from './attention.ts';
import { f16Bits, f16Value } from './harness.ts';

/** With the rows they are recorded for: the first has 1 query per kv head, the others up to 25, with remainders. */
const shapes: (HeadShape & { recorded: number })[] = [
  { headDim: 32, group: 1, kvHeads: 2, dtype: 'f32', recorded: 1 },
  { headDim: 20, group: 1, kvHeads: 1, dtype: 'f16', recorded: 3 },
  { headDim: 40, group: 5, kvHeads: 1, dtype: 'f16', recorded: 5 },
  { headDim: 64, group: 7, kvHeads: 2, dtype: 'f32', recorded: 1 },
  { headDim: 128, group: 8, kvHeads: 1, dtype: 'f16', recorded: 1 },
  { headDim: 256, group: 2, kvHeads: 1, dtype: 'f16', recorded: 1 },
  { headDim: 80, group: 9, kvHeads: 2, dtype: 'int8', recorded: 2 },
];

const splits = { splitLength: 64, maxSplits: 16 };

describe.each(shapes)(
  '$group heads share each of $kvHeads kv heads of $headDim, $dtype cache, $recorded rows',
  (shape) => {
    test.each([1, 31, 33, 127, 129, 1000])('a context of %i tokens', async (context) => {
      for (const rows of new Set([1, Math.min(context, shape.recorded)])) {
        const c = caseOf(shape, { rows, position: context - rows, recorded: shape.recorded });
        const inputs = randomInputs(c);
        const twin = twinOf(c, inputs);
        for (const outcome of await runSplitAndMerge(c, inputs, splits)) expectAttention(c, twin, outcome);
      }
    });
  },
);

/** One latent of headDim for all heads, its first `rank` values the values: the last with the head sizes of DeepSeek-V3. */
const latents: (HeadShape & { rank: number; recorded: number })[] = [
  { headDim: 44, rank: 36, group: 3, kvHeads: 1, dtype: 'f32', recorded: 2 },
  { headDim: 40, rank: 24, group: 5, kvHeads: 1, dtype: 'f16', recorded: 1 },
  { headDim: 300, rank: 292, group: 2, kvHeads: 1, dtype: 'f16', recorded: 3 },
  { headDim: 576, rank: 512, group: 128, kvHeads: 1, dtype: 'f16', recorded: 1 },
];

describe.each(latents)(
  '$group heads share a latent of $headDim with values of $rank, $dtype cache, $recorded rows',
  (shape) => {
    test.each([3, 64, 150])('a context of %i tokens', async (context) => {
      const { recorded } = shape;
      const c = caseOf(shape, { rows: recorded, position: context - recorded, recorded });
      const inputs = randomInputs(c);
      const twin = twinOf(c, inputs);
      for (const outcome of await runSplitAndMerge(c, inputs, splits)) expectAttention(c, twin, outcome);
    });
  },
);

test('a context too long for the number of splits has longer splits', async () => {
  for (const context of [320, 321, 901]) {
    const c = caseOf(shapes[0]!, { rows: 1, position: context - 1 });
    const inputs = randomInputs(c);
    const twin = twinOf(c, inputs);
    for (const outcome of await runSplitAndMerge(c, inputs, { splitLength: 64, maxSplits: 5 })) {
      expectAttention(c, twin, outcome);
    }
  }
});

test('a device that few workgroups fill has longer splits', async () => {
  const shape = shapes[3]!;
  for (const workgroups of [1, 5, 8]) {
    const c = caseOf(shape, { rows: 1, position: 700 });
    const inputs = randomInputs(c);
    const twin = twinOf(c, inputs);
    const filled = { ...splits, workgroups };
    for (const outcome of await runSplitAndMerge(c, inputs, filled)) expectAttention(c, twin, outcome);
    const width = widthOf(c);
    for (const { outputs } of await runSplit(c, inputs, filled)) {
      const ofHead = outputs.partials!.subarray(0, splits.maxSplits * width);
      const written = ofHead.filter((value, i) => i % width === 0 && !Number.isNaN(value));
      expect(written).toHaveLength(Math.ceil(workgroups / shape.kvHeads));
    }
  }
});

test('a split may be of any length, with scores that grow or shrink along it', async () => {
  for (const shape of [shapes[0]!, shapes[4]!]) {
    for (const slope of [-0.1, 0, 0.1]) {
      const c = caseOf(shape, { rows: 1, position: 999 });
      const inputs = randomInputs(c);
      const size = c.kvHeads * c.headDim;
      // The first value of a key decides over its score, and all queries agree on it.
      inputs.q.forEach((_, i) => {
        if (i % c.headDim === 0) inputs.q[i] = Math.sqrt(c.headDim);
      });
      const [keys] = inputs.keys as [Float32Array];
      for (let i = 0; slope !== 0 && i < keys.length; i += c.headDim) {
        keys[i] = f16Value(f16Bits(slope * Math.floor(i / size)));
      }
      const twin = twinOf(c, inputs);
      // The sum has the score's size from its first term on, so that each further one rounds at that size. The roundings of
      // n additions, each up or down, add up to about sqrt(n) (Higham and Mary, 2019).
      const roundings = Math.sqrt(c.headDim);
      for (const outcome of await runSplitAndMerge(c, inputs, { splitLength: 64, maxSplits: 1 })) {
        expectAttention(c, twin, outcome, roundings);
      }
    }
  }
});

test('every split leaves its own part; splits that a row does not see leave nothing', async () => {
  const c = caseOf(shapes[1]!, { rows: 3, position: 63 });
  const inputs = randomInputs(c);
  const { q } = inputs;
  const [keys, values] = [inputs.keys[0]!, inputs.values[0]!];
  const sequence = c.sequences[0]!;
  const width = widthOf(c);
  for (const { label, outputs } of await runSplit(c, inputs, splits)) {
    const partials = outputs.partials!;
    for (let row = 0; row < 3; row++) {
      const at = (split: number) => partials.subarray((row * splits.maxSplits + split) * width);
      const visible = 63 + row + 1;
      const first = attendPart(q, keys, values, shapeOf(c, sequence), row, 0, 0, 64);
      const where = `${label} row ${row} seed ${c.seed}`;
      for (let d = 0; d < c.headDim; d++) {
        const allowed = tolerance(first.magnitudes[d]!, first.scoreMagnitude);
        expect(Math.abs(at(0)[d]! - first.values[d]!), where).toBeLessThan(allowed);
      }
      expect(at(0)[c.headDim]! / first.largest / Math.LOG2E, where).toBeCloseTo(1, 5);
      expect(at(0)[c.headDim + 1]! / first.sum, where).toBeCloseTo(1, 5);
      const second = at(1).slice(0, c.headDim + 2);
      if (visible > 64) expect(second[c.headDim + 1]!, where).toBeGreaterThan(0.99);
      else expect(second.every(Number.isNaN), where).toBe(true);
      expect(
        at(2)
          .slice(0, (splits.maxSplits - 2) * width)
          .every(Number.isNaN),
        where,
      ).toBe(true);
    }
  }
});

test('scores of ten thousand do not overflow', async () => {
  const c = caseOf(shapes[0]!, { rows: 1, position: 300 });
  const inputs = randomInputs(c, 10_000);
  const twin = twinOf(c, inputs);
  expect(Math.max(...twin.scoreMagnitude)).toBeGreaterThan(10_000);
  for (const outcome of await runSplitAndMerge(c, inputs, splits)) expectAttention(c, twin, outcome);
});

test.each(['keys', 'values'] as const)(
  'NaN in %s shows in the rows that see it, and in no other',
  async (role) => {
    const c = caseOf(shapes[1]!, { rows: 3, position: 99 });
    for (const at of [0, 63, 64, 100, 101]) {
      const inputs = randomInputs(c);
      inputs[role][0]![at * c.headDim + 3] = Number.NaN;
      const twin = twinOf(c, inputs);
      const expected = Math.min(3, 102 - at) * (role === 'keys' ? c.headDim : 1);
      expect(Array.from(twin.out).filter(Number.isNaN)).toHaveLength(expected);
      for (const outcome of await runSplitAndMerge(c, inputs, splits)) expectAttention(c, twin, outcome);
    }
  },
);

test('the same step gives the same bits', async () => {
  const c = caseOf(shapes[0]!, { rows: 1, position: 999 });
  const inputs = randomInputs(c);
  const bits = async () =>
    (await runSplitAndMerge(c, inputs, splits)).map((o) => new Uint32Array(o.outputs.out!.buffer));
  expect(await bits()).toEqual(await bits());
});
