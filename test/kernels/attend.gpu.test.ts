/** @file `attend` against its f64 twin, in every tier. Unread positions of the cache are poison throughout. */
import { describe, expect, test } from 'vitest';
import { caseOf, expectAttention, type HeadShape, randomInputs, runAttend, twinOf } from './attention.ts';

const shapes: HeadShape[] = [
  { headDim: 16, group: 1, kvHeads: 2, dtype: 'f32' },
  { headDim: 20, group: 2, kvHeads: 1, dtype: 'f16' },
  { headDim: 40, group: 5, kvHeads: 1, dtype: 'f16' },
  { headDim: 64, group: 7, kvHeads: 2, dtype: 'f32' },
  { headDim: 128, group: 8, kvHeads: 1, dtype: 'f16' },
  { headDim: 256, group: 2, kvHeads: 1, dtype: 'f16' },
  { headDim: 48, group: 3, kvHeads: 2, dtype: 'int8' },
];

const steps = [
  { rows: 1, position: 0 },
  { rows: 31, position: 0, recorded: 40 },
  { rows: 33, position: 0 },
  { rows: 13, position: 114, recorded: 64 },
  { rows: 64, position: 65 },
  { rows: 5, position: 995, recorded: 8 },
];

describe.each(shapes)('$group heads share each of $kvHeads kv heads of $headDim, $dtype cache', (shape) => {
  test.each(steps)('$rows rows at position $position see exactly what stands before them', async (step) => {
    const c = caseOf(shape, step);
    const inputs = randomInputs(c);
    const twin = twinOf(c, inputs);
    for (const outcome of await runAttend(c, inputs)) expectAttention(c, twin, outcome);
  });
});

const together = [
  [
    { rows: 17, position: 0, slot: 3 },
    { rows: 1, position: 130, slot: 0 },
    { rows: 40, position: 63, slot: 2 },
    { rows: 7, position: 0, slot: 1 },
  ],
  Array.from({ length: 16 }, (_, slot) => ({ rows: 1 + (slot % 3), position: 9 * slot, slot })),
];
describe.each([shapes[1]!, shapes[3]!, shapes[5]!, shapes[6]!])(
  '$group heads share each of $kvHeads kv heads of $headDim, $dtype cache',
  (shape) => {
    test.each(together)(
      'rows of sequences side by side see what stands before them in their own',
      async (...sequences) => {
        const c = caseOf(shape, { sequences, recorded: 80 });
        const inputs = randomInputs(c);
        const twin = twinOf(c, inputs);
        for (const outcome of await runAttend(c, inputs)) expectAttention(c, twin, outcome);
      },
    );
  },
);

/** One latent of headDim for all heads, its first `rank` values the values: the last with the head sizes of DeepSeek-V3. */
const latents: (HeadShape & { rank: number })[] = [
  { group: 3, kvHeads: 1, headDim: 44, rank: 36, dtype: 'f32' },
  { group: 5, kvHeads: 1, headDim: 40, rank: 24, dtype: 'f16' },
  { group: 2, kvHeads: 1, headDim: 300, rank: 292, dtype: 'f16' },
  { group: 3, kvHeads: 1, headDim: 48, rank: 32, dtype: 'int8' },
  { group: 128, kvHeads: 1, headDim: 576, rank: 512, dtype: 'f16' },
];

describe.each(latents)(
  '$group heads share a latent of $headDim with values of $rank, $dtype cache',
  (shape) => {
    const few = shape.group > 5;
    test.each(
      few
        ? [{ rows: 3, position: 40 }]
        : [
            { rows: 5, position: 0, recorded: 8 },
            { rows: 33, position: 50 },
          ],
    )('$rows rows at position $position see exactly what stands before them', async (step) => {
      const c = caseOf(shape, step);
      const inputs = randomInputs(c);
      const twin = twinOf(c, inputs);
      for (const outcome of await runAttend(c, inputs)) expectAttention(c, twin, outcome);
    });
  },
);

test('scores of ten thousand do not overflow', async () => {
  const c = caseOf(shapes[0]!, { rows: 37, position: 60 });
  const inputs = randomInputs(c, 10_000);
  const twin = twinOf(c, inputs);
  expect(Math.max(...twin.scoreMagnitude)).toBeGreaterThan(10_000);
  for (const outcome of await runAttend(c, inputs)) expectAttention(c, twin, outcome);
});

describe.each(['keys', 'values'] as const)('NaN in %s', (role) => {
  test.each([0, 31, 32, 45])(
    'at position %i shows in every row that sees it, and in no other',
    async (at) => {
      const c = caseOf(shapes[0]!, { rows: 30, position: 20 });
      const inputs = randomInputs(c);
      // The first of two kv heads only.
      inputs[role][0]![at * c.kvHeads * c.headDim + 3] = Number.NaN;
      const twin = twinOf(c, inputs);
      const missing = Array.from(twin.out, Number.isNaN);
      const numColumns = role === 'keys' ? c.headDim : 1;
      expect(missing.filter(Boolean)).toHaveLength(Math.min(30, 50 - at) * numColumns);
      for (const outcome of await runAttend(c, inputs)) expectAttention(c, twin, outcome);
    },
  );
});
