/** @file A matrix times each row, with what may be done in the same dispatch before and after. */
import type { Activation } from '../activation.ts';
import {
  createTensor,
  type OpRecord,
  type Out,
  record,
  rowSize,
  type Tensor,
  viewColumns,
} from '../graph.ts';
import { expectCols, fail, rowsOf } from '../shapes.ts';
import type { Weight, Weights } from '../weight.ts';

/**
 * y = W x (+ bias); out = scale * epilogue(y) (+ residual). With `norm`, x is RMS-normalised first. With `gate`, W's rows are
 * gate and up in turn and out[n] = activate(y[2n]) * y[2n + 1].
 */
export type LinearOp = OpRecord<
  'linear',
  { x: Tensor; residual?: Tensor },
  { weight: Weight; bias?: Weight; norm?: Weight },
  { eps: number; gate: Activation | undefined; scale: number },
  Out
>;

declare module '../graph.ts' {
  interface OpTable {
    linear: LinearOp;
  }
}

/** x [rows, cols] -> scale * (W x + bias) [rows, weight.rows]; in `into`, where it is given. */
export function linear(x: Tensor, weight: Weight, bias?: Weight, scale = 1, into?: Tensor): Tensor {
  expectCols(x, weight.cols, `linear ${weight.key}`);
  if (bias && bias.cols !== weight.rows)
    fail(x.graph, `bias ${bias.key}`, `${bias.cols} values`, `${weight.rows}`);
  const name = weight.names.map((n) => n.replace(/\.weight$/, '')).join('+');
  const out = into ?? createTensor(x.graph, [rowsOf(x), weight.rows], { name });
  record(x.graph, {
    kind: 'linear',
    scope: x.graph.scope,
    inputs: { x },
    weights: bias ? { weight, bias } : { weight },
    attrs: { eps: 0, gate: undefined, scale },
    outputs: { out },
  });
  return out;
}

/**
 * x [rows, cols] times the matrices `names` of w, one after another: [rows, sum(sizes)]. One product for all of them that are in one
 * format. `biases`: each matrix has one beside it. Sizes are multiples of 4 where formats differ.
 */
export function stackedLinear(
  x: Tensor,
  w: Weights,
  names: readonly string[],
  sizes: readonly number[],
  biases = false,
): Tensor {
  const product = (run: { names: readonly string[]; rowsOf: readonly number[] }, into?: Tensor): Tensor => {
    const bias = biases
      ? w.vector(
          run.names.map((name) => `${name}.bias`),
          run.rowsOf,
        )
      : undefined;
    return linear(x, w.matrix(run.names, run.rowsOf, rowSize(x)), bias, 1, into);
  };
  const runs = w.alike(names, sizes, rowSize(x));
  if (runs.length === 1) return product(runs[0]!);
  const size = sizes.reduce((a, b) => a + b, 0);
  const out = createTensor(x.graph, [rowsOf(x), size], {
    name: names.map((name) => `${x.graph.scope}.${name}`).join('+'),
  });
  let begin = 0;
  for (const run of runs) {
    const rows = run.rowsOf.reduce((a, b) => a + b, 0);
    if (begin % 4 !== 0) fail(x.graph, `${run.names}`, `a first column of ${begin}`, 'a multiple of 4');
    product(run, viewColumns(out, begin, [rows]));
    begin += rows;
  }
  return out;
}
