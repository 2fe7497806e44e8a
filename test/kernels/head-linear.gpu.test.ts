import { describe, expect, it } from 'vitest';
import { headLinear as variants } from '../../kernels/latent/head-linear.ts';
import { createGraph, createTensor, viewColumns } from '../../src/graph/graph.ts';
import { FEW_ROWS } from '../../src/graph/op-list.ts';
import { Weights } from '../../src/graph/weight.ts';
import { formats } from '../../src/weights/formats.ts';
import { packers } from '../reference/formats.ts';
import { headLinear as reference } from '../reference/head-linear.ts';
import { expectRows } from './expect-rows.ts';
import { freshSeed, leastDevice, randomNormal, runVariants, seededRandom } from './harness.ts';

interface Case {
  rows: number;
  /** Rows of the batch; all when left out. */
  stepRows?: number;
  heads: number;
  cols: number;
  unitRows: number;
  firstRow: number;
  n: number;
  /** x is a view of the columns from here on of wider rows. */
  viewAt?: number;
  /** Heads that one binding holds. */
  partHeads?: number;
  /** Changes x [rows, heads, cols] after it was drawn. */
  spoil?(x: Float32Array): void;
}

/** As in the tests of `linear`. */
const TOLERANCE = 2e-6;

const few = ['matvec-subgroups', 'matvec'];
const many = ['tile-small-f16', 'tile-small'];

/** The number of kernels that were run. */
async function check(format: keyof typeof formats, c: Case, only: string[]): Promise<number> {
  const seed = freshSeed();
  const random = seededRandom(seed);
  const { rows, heads, cols, unitRows, firstRow, n } = c;
  const stepRows = c.stepRows ?? rows;
  const packed = packers[format]!(randomNormal(random, heads * unitRows * cols, 0.5), heads * unitRows, cols);
  const x = randomNormal(random, stepRows * heads * cols);
  c.spoil?.(x);
  const rowBytes = Math.max(...formats[format].sections.map((s) => s.rowBytes(cols)));
  const outcomes = await runVariants(variants, {
    resolve: () => formats[format],
    record(graph) {
      const begin = c.viewAt ?? 0;
      const wide = createTensor(graph, [rows, begin + heads * cols + (c.viewAt ? 5 : 0)]);
      graph.ops.push({
        kind: 'headLinear',
        scope: 'test',
        inputs: { x: viewColumns(wide, begin, [heads, cols]) },
        weights: { weight: new Weights(graph).matrix(['m'], [heads * unitRows], cols, { unitRows }) },
        attrs: { firstRow, numRows: n },
        outputs: { out: createTensor(graph, [rows, heads * n]) },
      });
    },
    data: { x },
    weights: { weight: packed.sections },
    batch: { rows: stepRows },
    ...(c.partHeads && { maxBindingBytes: c.partHeads * unitRows * rowBytes }),
    only,
  });
  const { out, magnitude } = reference({ ...c, rows: stepRows, x, weight: packed.values });
  for (const outcome of outcomes) {
    expectRows(outcome, 'out', { values: out, tolerance: (i) => TOLERANCE * magnitude[i]! }, seed);
  }
  return outcomes.length;
}

describe.for(Object.keys(formats) as (keyof typeof formats)[])('headLinear over %s weights', (format) => {
  it('multiplies the heads of few rows', async () => {
    const c = { rows: 3, stepRows: 2, heads: 3, cols: 20, unitRows: 28, firstRow: 8, n: 20 };
    await check(format, c, few);
  });

  it('multiplies the heads of many rows', async () => {
    const c = { rows: 13, stepRows: 11, heads: 3, cols: 40, unitRows: 44, firstRow: 8, n: 36 };
    await check(format, c, many);
  });
});

describe('headLinear', () => {
  it('multiplies up to 16 rows, from columns of wider rows', async () => {
    const c = { rows: 15, stepRows: 13, heads: 5, cols: 136, unitRows: 24, firstRow: 12, n: 12 };
    await check('bf16', { ...c, viewAt: 8 }, few);
  });

  it('joins the heads of all parts of a weight that is larger than a binding', async () => {
    const c = { heads: 5, cols: 24, unitRows: 28, firstRow: 0, n: 12, partHeads: 2 };
    await check('bf16', { ...c, rows: 3 }, ['matvec']);
    await check('bf16', { ...c, rows: 33 }, ['tile-small']);
  });

  it('multiplies a prompt by large tiles', async () => {
    const c = { rows: 65, stepRows: 63, heads: 16, cols: 40, unitRows: 148, firstRow: 20, n: 128 };
    expect(await check('f16', c, ['tile-large-f16', 'tile-large'])).toBeGreaterThan(0);
  });

  it('takes a single head, and all rows of a unit', async () => {
    const c = { rows: 1, heads: 1, cols: 8, unitRows: 4, firstRow: 0, n: 4 };
    await check('f32', c, ['matvec', 'tile-small']);
  });

  it('shows a NaN of x in its row and head and in no other', async () => {
    const c = { heads: 3, cols: 20, unitRows: 28, firstRow: 8, n: 20 };
    const spoil = (x: Float32Array): void => {
      x[(2 * c.heads + 1) * c.cols + 3] = Number.NaN;
    };
    await check('f32', { ...c, rows: 3, spoil }, few);
    await check('f32', { ...c, rows: 13, spoil }, many);
  });

  it('has a kernel for any number of rows', () => {
    for (const rows of [1, FEW_ROWS, FEW_ROWS + 1, 256]) {
      const graph = createGraph(() => formats.bf16);
      const wide = createTensor(graph, [rows, 4 * 64]);
      const weight = new Weights(graph).matrix(['m'], [4 * 32], 64, { unitRows: 32 });
      const op = {
        kind: 'headLinear',
        scope: 'test',
        inputs: { x: viewColumns(wide, 0, [4, 64]) },
        weights: { weight },
        attrs: { firstRow: 16, numRows: 16 },
        outputs: { out: createTensor(graph, [rows, 4 * 16]) },
      } as const;
      expect(
        variants.find((v) => v.when(op, leastDevice))?.name.startsWith(rows > FEW_ROWS ? 'tile' : 'matvec'),
        `${rows} rows`,
      ).toBe(true);
    }
  });
});
