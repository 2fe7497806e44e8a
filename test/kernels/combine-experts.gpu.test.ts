import { expect, it } from 'vitest';
import { combineExperts as variants } from '../../kernels/experts/combine-experts.ts';
import { createTensor, type Graph, record, viewColumns } from '../../src/graph/graph.ts';
import { type CombineExpertsOp, combineExperts } from '../../src/graph/ops/experts.ts';
import { combineExperts as reference } from '../reference/combine-experts.ts';
import { expectRows } from './expect-rows.ts';
import { freshSeed, randomNormal, runVariants, seededRandom } from './harness.ts';

/** Records the op with a residual, as the fusion rules do, everything a view of a wider row. */
function recordViews(graph: Graph, rows: number, k: number, n: number): void {
  const x = viewColumns(createTensor(graph, [rows, k * n + 12]), 8, [k, n]);
  const scales = viewColumns(createTensor(graph, [rows, k + 5]), 3, [k]);
  combineExperts(x, { experts: createTensor(graph, [rows, k], { dtype: 'u32' }), scales });
  const op = graph.ops.at(-1) as CombineExpertsOp;
  const residual = viewColumns(createTensor(graph, [rows, n + 4]), 4, [n]);
  record(graph, { ...op, inputs: { ...op.inputs, residual } });
}

it('sums the slots of each row by their scales, with a residual and without, of views as well', async () => {
  const seed = freshSeed();
  const random = seededRandom(seed);
  for (const { rows, stepRows, k, n, isFused } of [
    { rows: 3, stepRows: 2, k: 8, n: 260, isFused: true },
    { rows: 13, stepRows: 13, k: 1, n: 4, isFused: true },
    { rows: 5, stepRows: 3, k: 5, n: 36, isFused: false },
  ]) {
    const x = randomNormal(random, stepRows * k * n, 4);
    const scales = randomNormal(random, stepRows * k);
    const residual = isFused ? randomNormal(random, stepRows * n) : undefined;
    const outcomes = await runVariants(variants, {
      record: (graph) =>
        isFused
          ? recordViews(graph, rows, k, n)
          : combineExperts(createTensor(graph, [rows, k, n]), {
              experts: createTensor(graph, [rows, k], { dtype: 'u32' }),
              scales: createTensor(graph, [rows, k]),
            }),
      data: { x, scales, ...(residual && { residual }) },
      batch: { rows: stepRows },
    });
    const size = { rows: stepRows, k, n };
    const values = reference(x, scales, residual, size);
    const magnitudes = reference(x.map(Math.abs), scales.map(Math.abs), residual?.map(Math.abs), size);
    // A product and k + 1 sums, each rounded once.
    const tolerance = (i: number): number => (k + 2) * 2 ** -24 * magnitudes[i]!;
    for (const outcome of outcomes) expectRows(outcome, 'out', { values, tolerance }, seed);
  }
});

it('shows a scale that is not a number in every value of its row', async () => {
  const [rows, k, n] = [2, 2, 8];
  const outcomes = await runVariants(variants, {
    record: (graph) =>
      combineExperts(createTensor(graph, [rows, k, n]), {
        experts: createTensor(graph, [rows, k], { dtype: 'u32' }),
        scales: createTensor(graph, [rows, k]),
      }),
    data: { x: new Float32Array(rows * k * n), scales: Float32Array.of(1, 2, 3, Number.NaN) },
    batch: { rows },
  });
  for (const { label, outputs } of outcomes) {
    expect([...outputs.out!], label).toEqual([...Array(n).fill(0), ...Array(n).fill(Number.NaN)]);
  }
});
