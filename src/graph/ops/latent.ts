/** @file Multi-head latent attention (MLA): what stands before and behind the attention over one latent row per position. */
import { BLOCK_LENGTH } from '../batch.ts';
import {
  batchTensor,
  createTensor,
  type OpRecord,
  type Out,
  record,
  rowSize,
  sessionTensor,
  type Tensor,
  viewColumns,
} from '../graph.ts';
import { expectCols, expectHeads, fail, rowsOf } from '../shapes.ts';
import type { Weight } from '../weight.ts';
import { expectKvDims, type KvCache, type KvFormat, kvRole } from './cache.ts';
import type { RopePairing } from './heads.ts';

/**
 * Latent attention (MLA) before the cache: for rows of q [rows, heads, nope + rope] and latent [rows, rank + rope],
 *   cache[position of r] = [rms_norm(latent[r, :rank]) | rotate(latent[r, rank:])]
 *   out[r, h] = [sum_d q[r, h, d] W[h, d] | rotate(q[r, h, nope:])], W[h, d] = row h * unitRows + d of `weight`
 * `weight` is kv_b_proj [heads * (nope + v), rank], a head its unit, so that out[r, h] . cache[t] is the attention score:
 * the key part of the up-projection is absorbed into the query. out [rows, heads, rank + rope], cache [block_length, 1, rank + rope].
 * Without `weight` the first rank values of out are left to another op.
 * Formula: DeepSeek-V3 inference/model.py (MLA, attn_impl "absorb").
 */
export type PrepareLatentOp = OpRecord<
  'prepareLatent',
  { q: Tensor; latent: Tensor; angles: Tensor; batch: Tensor },
  { norm: Weight; weight?: Weight },
  { eps: number; pairing: RopePairing },
  { out: Tensor; cache: Tensor }
>;

/**
 * A matrix of its own for each head, the weight's units: out[r, h, j] = W[h, firstRow + j] . x[r, h, :cols], j < numRows. x [rows,
 * heads, at least cols], out [rows, heads * at least numRows]. MLA: the value part of kv_b_proj on what attention gives, v_head_dim rows
 * from row nope on.
 */
export type HeadLinearOp = OpRecord<
  'headLinear',
  { x: Tensor },
  { weight: Weight },
  { firstRow: number; numRows: number },
  Out
>;

declare module '../graph.ts' {
  interface OpTable {
    prepareLatent: PrepareLatentOp;
    headLinear: HeadLinearOp;
  }
}

/**
 * The latent cache of a layer, one row of rank + rope values per position for all heads: `prepareLatent` appends
 * `latent` [rows, rank + rope] and gives q [rows, heads, nope + rope] in its terms. The result attends over `cache`, whose
 * values are the first `rank` of its keys. `norm` [rank]. Either `weight`, kv_b_proj, a head its unit; or `keys` [heads * rank, nope]:
 * its key part, transposed, a head its unit.
 */
export function prepareLatent(
  { q, latent, angles }: { q: Tensor; latent: Tensor; angles: Tensor },
  { norm, weight, keys }: { norm: Weight; weight?: Weight; keys?: Weight },
  { layer, format, eps, pairing }: { layer: number; format: KvFormat; eps: number; pairing: RopePairing },
): { q: Tensor; cache: KvCache } {
  const { graph } = q;
  const [rows, heads, headDim] = expectHeads(q, 'prepareLatent');
  const rank = norm.cols;
  const rotated = rowSize(angles);
  expectCols(latent, rank + rotated, 'latent');
  if (rank % 4 !== 0 || rotated % 4 !== 0 || rotated >= headDim) {
    fail(
      graph,
      'latent',
      `${rank} + ${rotated} values`,
      'multiples of 4, and heads longer than what is rotated',
    );
  }
  const nope = headDim - rotated;
  const [up, isFitting] = weight
    ? [weight, weight.cols === rank && weight.unitRows >= nope]
    : [keys, keys?.cols === nope && keys.unitRows === rank];
  if (!isFitting || up?.rows !== heads * up!.unitRows) {
    fail(
      graph,
      `${up?.key}`,
      `[${up?.rows}, ${up?.cols}] with units of ${up?.unitRows}`,
      `a unit for each of ${heads} heads`,
    );
  }
  expectKvDims(graph, format, [rank, rank + rotated]);
  const shape = [BLOCK_LENGTH, 1, rank + rotated];
  const cache = sessionTensor(graph, `kv.${layer}.latent`, shape, format, kvRole(graph, layer, undefined));
  const out = createTensor(graph, [rows, heads, rank + rotated]);
  record(graph, {
    kind: 'prepareLatent',
    scope: graph.scope,
    inputs: { q, latent, angles, batch: batchTensor(graph) },
    weights: weight ? { norm, weight } : { norm },
    attrs: { eps, pairing },
    outputs: { out, cache },
  });
  if (keys) {
    record(graph, {
      kind: 'headLinear',
      scope: graph.scope,
      inputs: { x: q },
      weights: { weight: keys },
      attrs: { firstRow: 0, numRows: rank },
      outputs: { out },
    });
  }
  const values = viewColumns(cache, 0, [1, rank]);
  return { q: out, cache: { keys: cache, values, window: undefined } };
}

/** x [rows, heads * weight.cols], each head times rows [firstRow, firstRow + n) of its unit of `weight` -> [rows, heads * n]. */
export function headLinear(x: Tensor, weight: Weight, firstRow: number, n: number): Tensor {
  const heads = weight.rows / weight.unitRows;
  expectCols(x, heads * weight.cols, `headLinear ${weight.key}`);
  if (firstRow + n > weight.unitRows || n % 4 !== 0 || weight.cols % 4 !== 0) {
    fail(
      x.graph,
      `headLinear ${weight.key}`,
      `rows ${firstRow} to ${firstRow + n} of ${weight.unitRows}`,
      'multiples of 4 within a unit',
    );
  }
  const out = createTensor(x.graph, [rowsOf(x), heads * n]);
  record(x.graph, {
    kind: 'headLinear',
    scope: x.graph.scope,
    inputs: { x: viewColumns(x, 0, [heads, weight.cols]) },
    weights: { weight },
    attrs: { firstRow, numRows: n },
    outputs: { out },
  });
  return out;
}
