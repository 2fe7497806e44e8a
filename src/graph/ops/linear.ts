/** @file A matrix times each row, with what may be done in the same dispatch before and after. */
import type { Activation } from '../activation.ts';
import { createTensor, type OpRecord, type Out, record, type Tensor } from '../graph.ts';
import { expectCols, fail, rowsOf } from '../shapes.ts';
import type { Weight } from '../weight.ts';

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

/** x [rows, cols] -> scale * (W x + bias) [rows, weight.rows]. */
export function linear(x: Tensor, weight: Weight, bias?: Weight, scale = 1): Tensor {
  expectCols(x, weight.cols, `linear ${weight.key}`);
  if (bias && bias.cols !== weight.rows)
    fail(x.graph, `bias ${bias.key}`, `${bias.cols} values`, `${weight.rows}`);
  const name = weight.names.map((n) => n.replace(/\.weight$/, '')).join('+');
  const out = createTensor(x.graph, [rowsOf(x), weight.rows], { name });
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
