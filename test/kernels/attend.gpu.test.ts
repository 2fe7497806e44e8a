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

test('scores of ten thousand do not overflow', async () => {
  const c = caseOf(shapes[0]!, { rows: 37, position: 60 });
  const inputs = randomInputs(c, 10_000);
  const twin = twinOf(c, inputs);
  expect(Math.max(...twin.scoreMagnitude)).toBeGreaterThan(10_000);
  for (const outcome of await runAttend(c, inputs)) expectAttention(c, twin, outcome);
});

test.each([0, 31, 32, 45])(
  'NaN in the key at position %i shows in every row that sees it, and in no other',
  async (at) => {
    const c = caseOf(shapes[0]!, { rows: 30, position: 20 });
    const inputs = randomInputs(c);
    // The first of two kv heads only.
    inputs.keys[at * c.kvHeads * c.headDim + 3] = Number.NaN;
    const twin = twinOf(c, inputs);
    const missing = Array.from(twin.out, Number.isNaN);
    expect(missing.filter(Boolean)).toHaveLength(Math.min(30, 50 - at) * c.headDim);
    for (const outcome of await runAttend(c, inputs)) expectAttention(c, twin, outcome);
  },
);
