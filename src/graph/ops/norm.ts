/** @file RMS norm, of rows or of the heads in them. */
import { createTensor, type OpRecord, type Out, record, type Tensor } from '../graph.ts';
import { expectHeads, expectSameShape, fail } from '../shapes.ts';
import type { Weight } from '../weight.ts';

/** out = x / sqrt(mean(x^2) + eps) * norm, over the last dim of x (each head when x is [rows, heads, head_dim]). */
export type RmsNormOp = OpRecord<'rmsNorm', { x: Tensor }, { norm: Weight }, { eps: number }, Out>;

declare module '../graph.ts' {
  interface OpTable {
    rmsNorm: RmsNormOp;
  }
}

/** Over the last dim of x: [rows, cols], or each head of [rows, heads, head_dim]. `out`: where it goes, if not to a new tensor. */
export function rmsNorm(x: Tensor, norm: Weight, eps: number, out = createTensor(x.graph, x.shape)): Tensor {
  const width = x.shape.at(-1)!;
  if (norm.cols !== width) fail(x.graph, `norm weight ${norm.key}`, `${norm.cols} values`, `${width}`);
  if (x.shape.length > 2) expectHeads(x, 'rmsNorm');
  expectSameShape(x, out, 'rmsNorm');
  record(x.graph, {
    kind: 'rmsNorm',
    scope: x.graph.scope,
    inputs: { x },
    weights: { norm },
    attrs: { eps },
    outputs: { out },
  });
  return out;
}
