/** @file The keys and values of a layer that outlive a step, and what appends to them. */
import { type Graph, type OpRecord, record, rowSize, sessionTensor, type Tensor } from '../graph.ts';
import { expectCols, expectSameShape } from '../shapes.ts';

/** Keys and values of one layer: [capacity, kv_heads, k_dim] and [capacity, kv_heads, v_dim], f32 or packed f16. */
export interface KvCache {
  readonly keys: Tensor;
  readonly values: Tensor;
}

/** Writes rows of k and v [rows, kv_heads, head_dim] to positions step.position + r of the caches [capacity, kv_heads, head_dim]. */
export type AppendKvOp = OpRecord<
  'appendKv',
  { k: Tensor; v: Tensor },
  object,
  object,
  { keys: Tensor; values: Tensor }
>;

declare module '../graph.ts' {
  interface OpTable {
    appendKv: AppendKvOp;
  }
}

/** The cache of a layer, allocated once for `capacity` positions. */
export function kvCache(
  graph: Graph,
  layer: number,
  capacity: number,
  kvHeads: number,
  headDim: number,
  dtype: 'f16' | 'f32',
): KvCache {
  const shape = [capacity, kvHeads, headDim];
  return {
    keys: sessionTensor(graph, `kv.${layer}.keys`, shape, dtype),
    values: sessionTensor(graph, `kv.${layer}.values`, shape, dtype),
  };
}

/** Appends k and v [rows, kv_heads, head_dim] at the step's position. */
export function appendKv(cache: KvCache, k: Tensor, v: Tensor): KvCache {
  expectSameShape(k, v, 'k and v');
  expectCols(k, rowSize(cache.keys), 'kv cache');
  record(k.graph, {
    kind: 'appendKv',
    scope: k.graph.scope,
    inputs: { k, v },
    weights: {},
    attrs: {},
    outputs: { keys: cache.keys, values: cache.values },
  });
  return cache;
}
