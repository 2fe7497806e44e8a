/** @file Heads between the projection and the attention: cutting them out, rotating and mixing them, and all of it at once. */
import { InvalidInputError } from '../../errors.ts';
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

/**
 * The orthonormal Walsh-Hadamard transform of each head of x [rows, heads, head_dim]:
 *   out[i] = 1 / sqrt(head_dim) * sum_j (-1)^popcount(i & j) x[j]
 * Products of two heads that are both mixed stay what they are, and a value that is much larger than the others is spread over all.
 */
export type MixHeadsOp = OpRecord<'mixHeads', { x: Tensor }, object, object, Out>;

/**
 * RMS-norms heads of q and k (when the norms are given), rotates and (when told) mixes both, appends k and v to the caches; out is q:
 * appendKv, mixHeads, rope and rmsNorm in one.
 */
export type PrepareHeadsOp = OpRecord<
  'prepareHeads',
  { q: Tensor; k: Tensor; v: Tensor; angles: Tensor; batch: Tensor },
  { qNorm?: Weight; kNorm?: Weight },
  { eps: number; pairing: RopePairing; mixes: boolean },
  { out: Tensor; keys: Tensor; values: Tensor }
>;

declare module '../graph.ts' {
  interface OpTable {
    rope: RopeOp;
    mixHeads: MixHeadsOp;
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

/** Mixes the values of every head. @throws InvalidInputError where head_dim is no power of two */
export function mixHeads(x: Tensor): Tensor {
  const [, , headDim] = expectHeads(x, 'mixed heads');
  if (headDim < 4 || (headDim & (headDim - 1)) !== 0) {
    throw new InvalidInputError(
      `${x.graph.scope}: kvFormat is int8, which takes keys with a bias only in heads of a power of two; found ${headDim}. Load the model with kvFormat: 'f16'.`,
    );
  }
  const out = createTensor(x.graph, x.shape);
  record(x.graph, {
    kind: 'mixHeads',
    scope: x.graph.scope,
    inputs: { x },
    weights: {},
    attrs: {},
    outputs: { out },
  });
  return out;
}
