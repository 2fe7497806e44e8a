import { expect, it } from 'vitest';
import { rmsNorm as variants } from '../../kernels/norm/rms-norm.ts';
import { createTensor, type Graph, type Tensor, viewColumns } from '../../src/graph/graph.ts';
import { splitHeads } from '../../src/graph/ops/heads.ts';
import { rmsNorm } from '../../src/graph/ops/norm.ts';
import { Weights } from '../../src/graph/weight.ts';
import { rmsNorm as reference } from '../reference/rms-norm.ts';
import { expectRows } from './expect-rows.ts';
import { freshSeed, randomNormal, runVariants, seededRandom } from './harness.ts';

/** A sum of squares has no cancellation: relative errors of float32 (6e-8) in it, in the root and in two products. */
const TOLERANCE = 1e-6;

async function check(
  x: (graph: Graph) => Tensor,
  size: { rows: number; stepRows: number; heads: number; cols: number },
): Promise<void> {
  const eps = 1e-6;
  const seed = freshSeed();
  const random = seededRandom(seed);
  const data = randomNormal(random, size.stepRows * size.heads * size.cols, 3);
  const norm = randomNormal(random, size.cols);
  const outcomes = await runVariants(variants, {
    record: (graph) => rmsNorm(x(graph), new Weights(graph).vector(['norm'], [size.cols]), eps),
    data: { x: data },
    weights: { norm },
    batch: { rows: size.stepRows },
  });
  const values = reference(data, norm, size.stepRows * size.heads, size.cols, eps);
  for (const outcome of outcomes) {
    expectRows(outcome, 'out', { values, tolerance: (i) => TOLERANCE * Math.abs(values[i]!) }, seed);
  }
}

const whole = (rows: number, stepRows: number, cols: number): Promise<void> =>
  check((graph) => createTensor(graph, [rows, cols]), { rows, stepRows, heads: 1, cols });

it('normalises whole rows of any length', async () => {
  await whole(5, 3, 33);
  await whole(2, 2, 1028);
});

it('normalises only the rows that there are, however many the batch has', async () => {
  for (const cols of [40, 1028]) {
    const seed = freshSeed();
    const data = randomNormal(seededRandom(seed), cols);
    const norm = randomNormal(seededRandom(seed + 1), cols);
    const outcomes = await runVariants(variants, {
      record: (graph) =>
        rmsNorm(createTensor(graph, [1, cols]), new Weights(graph).vector(['norm'], [cols]), 1e-6),
      data: { x: data },
      weights: { norm },
      batch: { rows: 7 },
    });
    const values = reference(data, norm, 1, cols, 1e-6);
    for (const outcome of outcomes) {
      expectRows(outcome, 'out', { values, tolerance: (i) => TOLERANCE * Math.abs(values[i]!) }, seed);
    }
  }
});

it('writes into columns of wider rows, and leaves the others alone', async () => {
  const seed = freshSeed();
  const data = randomNormal(seededRandom(seed), 2 * 40);
  const norm = randomNormal(seededRandom(seed + 1), 40);
  const outcomes = await runVariants(variants, {
    record: (graph) =>
      rmsNorm(
        createTensor(graph, [2, 40]),
        new Weights(graph).vector(['norm'], [40]),
        1e-6,
        viewColumns(createTensor(graph, [2, 80]), 40, [40]),
      ),
    data: { x: data },
    weights: { norm },
    batch: { rows: 2 },
  });
  const values = reference(data, norm, 2, 40, 1e-6);
  for (const outcome of outcomes) {
    expectRows(outcome, 'out', { values, tolerance: (i) => TOLERANCE * Math.abs(values[i]!) }, seed);
  }
});

it('normalises a row of zeros by eps alone', async () => {
  const outcomes = await runVariants(variants, {
    record: (graph) => rmsNorm(createTensor(graph, [1, 1]), new Weights(graph).vector(['norm'], [1]), 1e-6),
    data: { x: new Float32Array(1) },
    weights: { norm: Float32Array.of(2) },
    batch: { rows: 1 },
  });
  for (const { label, outputs } of outcomes) expect([...outputs.out!], label).toEqual([0]);
});

it('normalises each head of a fused projection', async () => {
  for (const [heads, headDim] of [
    [3, 128],
    [13, 20],
  ] as const) {
    await check(
      (graph) => splitHeads(createTensor(graph, [3, (1 + heads + 1) * headDim]), [1, heads, 1], headDim)[1]!,
      { rows: 3, stepRows: 2, heads, cols: headDim },
    );
  }
});
