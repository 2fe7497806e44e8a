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
 * Formula: DeepSeek-V3 inference/model.py (MLA, attn_impl "absorb").
 */
export type PrepareLatentOp = OpRecord<
  'prepareLatent',
  { q: Tensor; latent: Tensor; angles: Tensor; batch: Tensor },
  { norm: Weight; weight: Weight },
  { eps: number; pairing: RopePairing },
  { out: Tensor; cache: Tensor }
>;

/**
 * A matrix of its own for each head, the weight's units: out[r, h * n + j] = W[h, firstRow + j] . x[r, h], j < n. x [rows,
 * heads, cols]. MLA: the value part of kv_b_proj on what attention gives, n = v_head_dim from row nope on.
 */
export type HeadLinearOp = OpRecord<
  'headLinear',
  { x: Tensor },
  { weight: Weight },
  { firstRow: number },
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
 * values are the first `rank` of its keys. `norm` [rank]; `weight` is kv_b_proj, a head its unit.
 */
export function prepareLatent(
  { q, latent, angles }: { q: Tensor; latent: Tensor; angles: Tensor },
  { norm, weight }: { norm: Weight; weight: Weight },
  { layer, format, eps, pairing }: { layer: number; format: KvFormat; eps: number; pairing: RopePairing },
): { q: Tensor; cache: KvCache } {
  const { graph } = q;
  const [rows, heads, headDim] = expectHeads(q, 'prepareLatent');
  const rank = weight.cols;
  const rotated = rowSize(angles);
  expectCols(latent, rank + rotated, 'latent');
  if (norm.cols !== rank) fail(graph, `norm weight ${norm.key}`, `${norm.cols} values`, `${rank}`);
  if (rank % 4 !== 0 || rotated % 4 !== 0 || rotated >= headDim) {
    fail(
      graph,
      'latent',
      `${rank} + ${rotated} values`,
      'multiples of 4, and heads longer than what is rotated',
    );
  }
  if (weight.rows !== heads * weight.unitRows || weight.unitRows < headDim - rotated) {
    fail(
      graph,
      `${weight.key}`,
      `units of ${weight.unitRows} rows of ${weight.rows}`,
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
    weights: { norm, weight },
    attrs: { eps, pairing },
    outputs: { out, cache },
  });
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
    attrs: { firstRow },
    outputs: { out },
  });
  return out;
}
