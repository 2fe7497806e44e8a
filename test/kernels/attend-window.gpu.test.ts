/** @file Attention with windows against its f64 twin, in every tier. What lies before the window is poison, or has no block at all. */
import { describe, expect, test } from 'vitest';
import {
  caseOf,
  expectAttention,
  type HeadShape,
  randomInputs,
  runAttend,
  runSplitAndMerge,
  twinOf,
} from './attention.ts';

const shapes: HeadShape[] = [
  { headDim: 32, group: 3, kvHeads: 2, dtype: 'f32' },
  { headDim: 64, group: 1, kvHeads: 1, dtype: 'f16' },
  { headDim: 64, group: 4, kvHeads: 1, dtype: 'int8' },
  { headDim: 304, rank: 288, group: 2, kvHeads: 1, dtype: 'int8' },
];

const windows = [1, 5, 48, 64, 65, 200];

describe.each(shapes)('$group heads share each of $kvHeads kv heads of $headDim, $dtype cache', (shape) => {
  test.each(windows)('many rows see a window of %i', async (window) => {
    for (const rows of [
      { rows: 21, position: 300 },
      { rows: 70, position: 51, recorded: 80 },
    ]) {
      const c = caseOf(shape, { ...rows, window });
      const inputs = randomInputs(c);
      const twin = twinOf(c, inputs);
      for (const outcome of await runAttend(c, inputs)) expectAttention(c, twin, outcome);
    }
  });

  test.each(windows)('rows of several sequences each see a window of %i', async (window) => {
    const sequences = [
      { slot: 2, position: 0, rows: 1 },
      { slot: 0, position: 63, rows: 1 },
      { slot: 3, position: 317, rows: 3 },
      { slot: 1, position: 64, rows: 1 },
    ];
    const c = caseOf(shape, { sequences, window, recorded: 8 });
    const inputs = randomInputs(c);
    const twin = twinOf(c, inputs);
    for (const workgroups of [1, 1024]) {
      const splits = { splitLength: 64, maxSplits: 16, workgroups };
      for (const outcome of await runSplitAndMerge(c, inputs, splits)) expectAttention(c, twin, outcome);
    }
    for (const outcome of await runAttend(c, inputs)) expectAttention(c, twin, outcome);
  });
});

test('NaN just before the window shows in no row, and in the window in those that see it', async () => {
  const c = caseOf(shapes[0]!, { rows: 3, position: 150, window: 20 });
  for (const at of [130, 131, 132, 133, 152]) {
    const inputs = randomInputs(c);
    inputs.values[0]![at * c.kvHeads * c.headDim] = Number.NaN;
    const twin = twinOf(c, inputs);
    const seeing = [0, 1, 2].filter((row) => at > 130 + row && at <= 150 + row).length;
    expect(Array.from(twin.out).filter(Number.isNaN)).toHaveLength(seeing * c.group);
    const split = await runSplitAndMerge(c, inputs, { splitLength: 64, maxSplits: 16 });
    for (const outcome of [...(await runAttend(c, inputs)), ...split]) expectAttention(c, twin, outcome);
  }
});
