/** @file Decode attention of several sequences in one batch: every row as its f64 twin has it, and with the bits that it has alone. */
import { describe, expect, test } from 'vitest';
import {
  aloneOf,
  caseOf,
  expectAttention,
  type HeadShape,
  randomInputs,
  runSplitAndMerge,
  totalRows,
  twinOf,
} from './attention.ts';

const shapes: (HeadShape & { window?: number })[] = [
  { headDim: 64, group: 2, kvHeads: 2, dtype: 'f32' },
  { headDim: 128, group: 7, kvHeads: 1, dtype: 'f16' },
  { headDim: 48, group: 3, kvHeads: 2, dtype: 'int8' },
  { headDim: 40, group: 1, kvHeads: 1, dtype: 'f16', window: 100 },
  { headDim: 300, rank: 292, group: 5, kvHeads: 1, dtype: 'f32' },
  { headDim: 576, rank: 512, group: 16, kvHeads: 1, dtype: 'int8' },
];

/** Positions before the first row, and rows: most decode one token, some check guesses. */
const SEQUENCES = [
  { position: 0, rows: 1 },
  { position: 62, rows: 1 },
  { position: 63, rows: 1 },
  { position: 64, rows: 1 },
  { position: 999, rows: 1 },
  { position: 60, rows: 6 },
  { position: 300, rows: 1 },
  { position: 640, rows: 2 },
];
const SLOTS = [4, 0, 9, 2, 7, 1, 3, 5];
const layout = { rows: 20, slots: 11, capacity: 1024 };

const bits = (x: ArrayLike<number>): number[] => Array.from(new Uint32Array(Float32Array.from(x).buffer));

describe.each(shapes)(
  '$group heads share each of $kvHeads kv heads of $headDim, $dtype cache, window $window',
  ({ window, ...shape }) => {
    // Enough for a split for every 64 positions, and for three splits.
    test.each([1024, 3 * shape.kvHeads])(
      'a row gives the same bits in any company, with %i workgroups',
      async (workgroups) => {
        const splits = { splitLength: 64, maxSplits: 16, workgroups };
        const sequences = SEQUENCES.map((s, i) => ({ ...s, slot: SLOTS[i]! }));
        const c = caseOf(shape, { sequences, recorded: 16, window, layout });
        const inputs = randomInputs(c);
        const together = await runSplitAndMerge(c, inputs, splits);
        const twin = twinOf(c, inputs);
        for (const outcome of together) expectAttention(c, twin, outcome);
        for (let row = 0; row < totalRows(c); row++) {
          const alone = aloneOf(c, inputs, row);
          for (const recorded of row % 5 ? [1] : [1, 2, 4, 8, 16]) {
            const outcomes = await runSplitAndMerge({ ...alone.c, recorded }, alone.inputs, splits);
            expect(outcomes.map(({ label }) => label)).toEqual(together.map(({ label }) => label));
            outcomes.forEach(({ label, outputs }, i) => {
              const width = outputs.out!.length / recorded;
              const found = bits(outputs.out!.subarray(0, width));
              const wanted = bits(together[i]!.outputs.out!.subarray(row * width, (row + 1) * width));
              expect(found, `${label}, row ${row}, recorded for ${recorded}, seed ${c.seed}`).toEqual(wanted);
            });
          }
        }
      },
    );
  },
);
