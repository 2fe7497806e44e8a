/** @file Attention over a cache: in one op, or in two for steps of few rows. */
import { batchTensor, createTensor, type OpRecord, type Out, record, type Tensor } from '../graph.ts';
import { expectHeads, fail } from '../shapes.ts';
import type { KvCache } from './cache.ts';

/**
 * Causal grouped-query attention of q [rows, heads, k_dim] over the cached positions of each row's sequence up to its own, with
 * `window` only the last `window` of them:
 * out[r, h] = sum_t softmax_t(scale * q[r, h] . keys[t, g]) values[t, g], g = floor(h * kv_heads / heads). keys [block_length,
 * kv_heads, k_dim] and values [block_length, kv_heads, v_dim] are a block of the cache (with latent attention values are a view of the
 * keys). out [rows, heads * v_dim]. The rows of a sequence are neighbouring positions.
 */
export type AttendOp = OpRecord<
  'attend',
  { q: Tensor; keys: Tensor; values: Tensor; batch: Tensor },
  object,
  { scale: number; window: number | undefined },
  Out
>;

/** How `attendSplit` cuts a context, and `attendMerge` expects it. */
export interface Splitting {
  readonly splitLength: number;
  readonly maxSplits: number;
  /** Workgroups that each split has. */
  readonly groups: number;
  readonly window: number | undefined;
}

/**
 * The first half of `attend` for few rows: the context of each row is cut into splits of `splitLength` positions, or a multiple
 * of that when it would be more than `maxSplits` or, with `groups` workgroups each, more than fill the device. Each
 * gives a partial result: partials f32 [rows, heads, maxSplits, v_dim + 2 (weighted sum, largest score in units of ln 2, sum
 * of exponentials), padded to a multiple of 4].
 */
export type AttendSplitOp = OpRecord<
  'attendSplit',
  { q: Tensor; keys: Tensor; values: Tensor; batch: Tensor },
  object,
  { scale: number } & Splitting,
  { partials: Tensor }
>;

/** The second half: merges the partial results of the splits of each row. */
export type AttendMergeOp = OpRecord<
  'attendMerge',
  { partials: Tensor; batch: Tensor },
  object,
  Splitting,
  Out
>;

declare module '../graph.ts' {
  interface OpTable {
    attend: AttendOp;
    attendSplit: AttendSplitOp;
    attendMerge: AttendMergeOp;
  }
}

/** q [rows, heads, k_dim] over the cache -> [rows, heads * v_dim]. */
export function attend(q: Tensor, cache: KvCache, scale: number): Tensor {
  const [rows, heads, headDim] = expectHeads(q, 'attend');
  const [, kvHeads, kvDim] = expectHeads(cache.keys, 'kv cache');
  const [, valueHeads, valueDim] = expectHeads(cache.values, 'kv cache');
  if (kvDim !== headDim || heads % kvHeads !== 0 || valueHeads !== kvHeads) {
    fail(
      q.graph,
      'attention heads',
      `${heads} query heads of ${headDim} over ${kvHeads} of ${kvDim}`,
      'equal head_dim and a multiple',
    );
  }
  const out = createTensor(q.graph, [rows, heads * valueDim]);
  record(q.graph, {
    kind: 'attend',
    scope: q.graph.scope,
    inputs: { q, keys: cache.keys, values: cache.values, batch: batchTensor(q.graph) },
    weights: {},
    attrs: { scale, window: cache.window },
    outputs: { out },
  });
  return out;
}
