import { describe, expect, inject, it } from 'vitest';
import { linear as variants } from '../../kernels/linear/linear.ts';
import { type Activation, activate } from '../../src/graph/activation.ts';
import { createGraph, createTensor, type Tensor, viewColumns } from '../../src/graph/graph.ts';
import { FEW_ROWS } from '../../src/graph/op-list.ts';
import type { LinearOp } from '../../src/graph/ops/linear.ts';
import { Weights } from '../../src/graph/weight.ts';
import { formats } from '../../src/weights/formats.ts';
import { packers } from '../reference/formats.ts';
import { linear as reference } from '../reference/linear.ts';
import { expectRows } from './expect-rows.ts';
import { freshSeed, leastDevice, type Outcome, randomNormal, runVariants, seededRandom } from './harness.ts';

interface Case {
  rows: number;
  /** Rows of the batch; all when left out. */
  stepRows?: number;
  cols: number;
  weightRows: number;
  bias?: boolean;
  norm?: boolean;
  gate?: Activation;
  residual?: boolean;
  scale?: number;
  /** x is a view of the columns from here on of wider rows. */
  viewAt?: number;
  /** The result goes to the columns from here on of wider rows. */
  intoAt?: number;
  maxBindingBytes?: number;
}

/**
 * Each of the cols products rounds once and so does each partial sum; sums over lanes keep their chains short, so that a
 * few units of float32 (6e-8) of the sum of magnitudes cover them. exp of the gate and inverseSqrt of the norm add a few more.
 */
const TOLERANCE = 2e-6;

async function check(format: keyof typeof formats, c: Case, only?: string[]): Promise<Outcome[]> {
  const seed = freshSeed();
  const random = seededRandom(seed);
  const stepRows = c.stepRows ?? c.rows;
  const outputs = c.gate ? c.weightRows / 2 : c.weightRows;
  const eps = 1e-5;
  const packed = packers[format]!(randomNormal(random, c.weightRows * c.cols, 0.5), c.weightRows, c.cols);
  const x = randomNormal(random, stepRows * c.cols);
  const bias = c.bias ? randomNormal(random, c.weightRows) : undefined;
  const norm = c.norm ? randomNormal(random, c.cols) : undefined;
  const residual = c.residual ? randomNormal(random, stepRows * outputs) : undefined;
  const outcomes = await runVariants(variants, {
    resolve: ([name]) => (name === 'm.weight' ? formats[format] : formats.f32),
    record(graph) {
      const w = new Weights(graph);
      const tensor = (cols: number): Tensor => createTensor(graph, [c.rows, cols]);
      const begin = c.viewAt ?? 0;
      const op: LinearOp = {
        kind: 'linear',
        scope: 'test',
        inputs: {
          x:
            c.viewAt === undefined
              ? tensor(c.cols)
              : viewColumns(tensor(begin + c.cols + 5), begin, [c.cols]),
          residual: residual && tensor(outputs),
        },
        weights: {
          weight: w.matrix(['m'], [c.weightRows], c.cols),
          bias: bias && w.vector(['bias'], [c.weightRows]),
          norm: norm && w.vector(['norm'], [c.cols]),
        },
        attrs: { eps, gate: c.gate, scale: c.scale ?? 1 },
        outputs: {
          out:
            c.intoAt === undefined
              ? tensor(outputs)
              : viewColumns(tensor(c.intoAt + outputs + 8), c.intoAt, [outputs]),
        },
      };
      graph.ops.push(op);
    },
    data: { x, ...(residual && { residual }) },
    weights: { weight: packed.sections, ...(bias && { bias }), ...(norm && { norm }) },
    batch: { rows: stepRows },
    maxBindingBytes: c.maxBindingBytes,
    only,
  });
  const { out, magnitude } = reference({
    rows: stepRows,
    cols: c.cols,
    weightRows: c.weightRows,
    x,
    weight: packed.values,
    bias,
    norm,
    eps,
    gate: c.gate,
    residual,
    scale: c.scale,
  });
  for (const outcome of outcomes) {
    expectRows(outcome, 'out', { values: out, tolerance: (i) => TOLERANCE * magnitude[i]! }, seed);
  }
  return outcomes;
}

const few = ['matvec-waves', 'matvec'];
/** Those that measurements choose among: the same bodies in other shapes, so not every one with every format. */
const shaped = inject('everyCase')
  ? variants.map((v) => v.name).filter((name) => name.startsWith('matvec') && !few.includes(name))
  : ['matvec-subgroups', 'matvec-waves-staged', 'matvec-4x16'];
const many = ['tile-small-f16', 'tile-small'];

describe.for(Object.keys(formats) as (keyof typeof formats)[])('linear over %s weights', (format) => {
  it('multiplies few rows, with all that can be folded in and padding behind every row', async () => {
    const folded = { bias: true, norm: true, gate: 'silu', residual: true, scale: 0.37 } as const;
    await check(format, { rows: 2, cols: 41, weightRows: 22, ...folded }, few);
  });

  it('multiplies many rows, of which some do not count', async () => {
    await check(format, { rows: 13, stepRows: 11, cols: 41, weightRows: 38, scale: 8 }, many);
  });
});

describe('linear', () => {
  it('multiplies one long row', async () => {
    await check('bf16', { rows: 1, cols: 1032, weightRows: 66, norm: true, gate: 'silu' }, few);
  });

  it.each(Object.keys(activate) as Activation[])('multiplies by neighbours behind %s', async (gate) => {
    await check('bf16', { rows: 2, cols: 40, weightRows: 70, gate, norm: true }, few);
    await check('bf16', { rows: 9, cols: 40, weightRows: 70, gate, bias: true }, ['tile-small']);
  });

  it('multiplies up to 16 rows of any shape', async () => {
    const random = seededRandom(freshSeed());
    const upTo = (n: number): number => 1 + Math.floor(random() * n);
    const rows = 4 + upTo(12);
    await check(
      'f32',
      { rows, stepRows: upTo(rows), cols: upTo(300), weightRows: upTo(40), norm: true },
      few,
    );
  });

  it('multiplies few rows in every shape of a workgroup', async () => {
    const folded = { bias: true, norm: true, gate: 'silu', residual: true } as const;
    await check('f32', { rows: 3, stepRows: 2, cols: 333, weightRows: 90, ...folded }, shaped);
  });

  it('multiplies as many rows as are few, in turns, in every shape of a workgroup', async () => {
    const folded = { bias: true, norm: true, swiglu: true, residual: true };
    await check('bf16', { rows: 16, stepRows: 15, cols: 77, weightRows: 90, ...folded }, [...few, ...shaped]);
    await check('int4', { rows: 9, cols: 77, weightRows: 39 }, [...few, ...shaped]);
  });

  it('multiplies one row in every shape of a workgroup', async () => {
    const random = seededRandom(freshSeed());
    const weightRows = 4 * (1 + Math.floor(random() * 60));
    await check('int4', { rows: 1, cols: 2048, weightRows, norm: true }, ['matvec-waves-staged']);
    await check('bf16', { rows: 1, cols: 2048, weightRows, residual: true }, shaped);
  });

  it('joins the parts of a weight in every shape of a workgroup', async () => {
    const rowBytes = formats.bf16.sections[0]!.rowBytes(40);
    const c = { rows: 2, cols: 40, weightRows: 270, norm: true, maxBindingBytes: 260 * rowBytes };
    await check('bf16', c, ['matvec-waves-staged', 'matvec-4x16']);
  });

  it('multiplies many rows, with all that can be folded in', async () => {
    const folded = { bias: true, gate: 'silu', residual: true } as const;
    await check('f32', { rows: 33, cols: 32, weightRows: 70, ...folded }, many);
  });

  it('multiplies a prompt by large tiles', async () => {
    const c = { rows: 65, cols: 48, weightRows: 2051, bias: true };
    const outcomes = await check('f16', c, ['tile-large-f16', 'tile-large']);
    expect(outcomes.length).toBeGreaterThan(0);
  });

  it('joins the parts of a weight that is larger than a binding', async () => {
    const rowBytes = formats.bf16.sections[0]!.rowBytes(40);
    const small = { rows: 3, cols: 40, weightRows: 14, bias: true, gate: 'silu' } as const;
    await check('bf16', { ...small, maxBindingBytes: 8 * rowBytes }, ['matvec']);
    const large = { rows: 33, cols: 40, weightRows: 300, residual: true };
    await check('bf16', { ...large, maxBindingBytes: 290 * rowBytes }, ['tile-small']);
  });

  it('reads x from the columns of wider rows', async () => {
    await check('bf16', { rows: 2, cols: 24, weightRows: 12, viewAt: 8 }, ['matvec', 'tile-small']);
  });

  it('writes into the columns of wider rows', async () => {
    const folded = { bias: true, residual: true } as const;
    await check('bf16', { rows: 2, cols: 24, weightRows: 12, intoAt: 8, ...folded }, [...few, ...many]);
    const split = { rows: 3, cols: 24, weightRows: 40, maxBindingBytes: 16 * 48 };
    await check('bf16', { ...split, intoAt: 4 }, [...few, ...many]);
  });

  it('has a kernel on every device for all that fuse can record', () => {
    for (const [rows, hasNorm] of [
      [FEW_ROWS, true],
      [FEW_ROWS, false],
      [FEW_ROWS + 1, false],
      [512, false],
    ] as const) {
      const graph = createGraph(() => formats.bf16);
      const x = createTensor(graph, [rows, 64]);
      const w = new Weights(graph);
      const norm = hasNorm ? w.vector(['norm'], [64]) : undefined;
      const op: LinearOp = {
        kind: 'linear',
        scope: 'test',
        inputs: { x },
        weights: { weight: w.matrix(['m'], [64], 64), norm },
        attrs: { eps: 0, gate: undefined, scale: 1 },
        outputs: { out: createTensor(graph, [rows, 64]) },
      };
      expect(
        variants.some((v) => v.when(op, leastDevice)),
        `${rows} rows, norm ${hasNorm}`,
      ).toBe(true);
    }
  });

  it('shows a NaN of x in every output of its row and in no other', async () => {
    for (const rows of [2, 9, FEW_ROWS + 1]) {
      const outcomes = await runVariants(variants, {
        resolve: () => formats.f32,
        record(graph) {
          const out = createTensor(graph, [rows, 4]);
          graph.ops.push({
            kind: 'linear',
            scope: 'test',
            inputs: { x: createTensor(graph, [rows, 8]) },
            weights: { weight: new Weights(graph).matrix(['m'], [8], 8) },
            attrs: { eps: 0, gate: 'silu', scale: 1 },
            outputs: { out },
          });
        },
        data: { x: new Float32Array(rows * 8).fill(1).fill(Number.NaN, 8, 9) },
        weights: { weight: packers.f32!(new Float32Array(64).fill(1), 8, 8).sections },
        batch: { rows },
        only: rows > FEW_ROWS ? many : few,
      });
      for (const { label, outputs } of outcomes) {
        const isNaNRow = Array.from({ length: rows }, (_, r) =>
          outputs.out!.slice(4 * r, 4 * r + 4).every(Number.isNaN),
        );
        expect(isNaNRow, label).toEqual(Array.from({ length: rows }, (_, r) => r === 1));
      }
    }
  });
});
