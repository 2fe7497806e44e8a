/** @file Heads between the projection and the attention: cutting them out, rotating them, and all of it at once. */
import {
  createTensor,
  type OpRecord,
  type Out,
  record,
  rowSize,
  type Tensor,
  viewColumns,
} from '../graph.ts';
import { expectCols, expectHeads, fail, rowsOf } from '../shapes.ts';
import type { Weight } from '../weight.ts';

/** Rotary tables come per step: f32 [rows, 2 * half], cos then sin, made on the CPU in f64 (WGSL sin/cos may be off by 2^-11). */
export type RopePairing = 'half' | 'interleaved';

/** Rotates the first `2 * half` values of each head of x [rows, heads, head_dim]; angles f32 [rows, 2 * half] (cos, then sin), in the batch's table. */
export type RopeOp = OpRecord<'rope', { x: Tensor; angles: Tensor }, object, { pairing: RopePairing }, Out>;

/** RMS-norms heads of q and k (when the norms are given), rotates both, appends k and v to the caches; out is q: appendKv, rope and rmsNorm in one. */
export type PrepareHeadsOp = OpRecord<
  'prepareHeads',
  { q: Tensor; k: Tensor; v: Tensor; angles: Tensor; batch: Tensor },
  { qNorm?: Weight; kNorm?: Weight },
  { eps: number; pairing: RopePairing },
  { out: Tensor; keys: Tensor; values: Tensor }
>;

declare module '../graph.ts' {
  interface OpTable {
    rope: RopeOp;
    prepareHeads: PrepareHeadsOp;
  }
}

/** Cuts rows of a fused projection into heads: [rows, n * head_dim] -> views [rows, heads_i, head_dim]. */
export function splitHeads(x: Tensor, heads: readonly number[], headDim: number): Tensor[] {
  expectCols(x, heads.reduce((a, b) => a + b, 0) * headDim, `heads ${heads.join(' + ')} of ${headDim}`);
  let begin = 0;
  return heads.map((n) => {
    const view = viewColumns(x, begin, [n, headDim]);
    begin += n * headDim;
    return view;
  });
}

/** Rotates the first `2 * half` values of every head; angles f32 [rows, 2 * half] are written by the host before every step. */
export function rope(x: Tensor, angles: Tensor, pairing: RopePairing = 'half'): Tensor {
  const [rows, , headDim] = expectHeads(x, 'rope');
  if (rowsOf(angles) !== rows || rowSize(angles) > headDim) {
    fail(x.graph, 'rope angles', `[${angles.shape}]`, `[${rows}, at most ${headDim}]`);
  }
  const out = createTensor(x.graph, x.shape);
  record(x.graph, {
    kind: 'rope',
    scope: x.graph.scope,
    inputs: { x, angles },
    weights: {},
    attrs: { pairing },
    outputs: { out },
  });
  return out;
}
