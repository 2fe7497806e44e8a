/** @file The keys and values of a layer that outlive a step, and what appends to them. */
import { InvalidInputError } from '../../errors.ts';
import { BLOCK_LENGTH } from '../batch.ts';
import {
  batchTensor,
  type DType,
  type Graph,
  type OpRecord,
  record,
  rowSize,
  type SessionRole,
  sessionTensor,
  type Tensor,
} from '../graph.ts';
import { expectCols, expectSameShape, fail } from '../shapes.ts';

/** How keys and values are stored. int8: rounded to a scale for each position and head. */
export type KvFormat = Extract<DType, 'f32' | 'f16' | 'int8'>;

/** A block of the keys and values of one layer: [block_length, kv_heads, k_dim] and [block_length, kv_heads, v_dim]. */
export interface KvCache {
  readonly keys: Tensor;
  readonly values: Tensor;
  /** Positions that a row sees, its own included; undefined: all. */
  readonly window: number | undefined;
}

/** Writes rows of k and v [rows, kv_heads, head_dim] to the cache, at the positions of the rows in their sequences. */
export type AppendKvOp = OpRecord<
  'appendKv',
  { k: Tensor; v: Tensor; batch: Tensor },
  object,
  object,
  { keys: Tensor; values: Tensor }
>;

declare module '../graph.ts' {
  interface OpTable {
    appendKv: AppendKvOp;
  }
}

/** The role of a layer's cache: layers with the same window share block tables. */
export function kvRole(graph: Graph, layer: number, window: number | undefined): SessionRole {
  const group = graph.layout.windows.indexOf(window);
  if (group < 0)
    fail(graph, 'window', `${window}`, `one of ${graph.layout.windows.join(', ')}, as the config says`);
  return { kind: 'kv', rewind: window === undefined ? 'truncate' : 'window', layer, group };
}

/** int8 is read 16 values at a time. @throws InvalidInputError */
export function expectKvDims(graph: Graph, format: KvFormat, dims: readonly number[]): void {
  if (format !== 'int8' || dims.every((dim) => dim % 16 === 0)) return;
  throw new InvalidInputError(
    `${graph.scope}: kvFormat is int8, which takes heads of a multiple of 16 values; found ${dims.join(' and ')}. Load the model with kvFormat: 'f16'.`,
  );
}

/** The cache of a layer. */
export function kvCache(
  graph: Graph,
  layer: number,
  {
    kvHeads,
    headDim,
    format,
    window,
  }: { kvHeads: number; headDim: number; format: KvFormat; window?: number | undefined },
): KvCache {
  expectKvDims(graph, format, [headDim]);
  const shape = [BLOCK_LENGTH, kvHeads, headDim];
  const role = kvRole(graph, layer, window);
  return {
    keys: sessionTensor(graph, `kv.${layer}.keys`, shape, format, role),
    values: sessionTensor(graph, `kv.${layer}.values`, shape, format, role),
    window,
  };
}

/** Appends k and v [rows, kv_heads, head_dim] to their sequences. */
export function appendKv(cache: KvCache, k: Tensor, v: Tensor): KvCache {
  expectSameShape(k, v, 'k and v');
  expectCols(k, rowSize(cache.keys), 'kv cache');
  record(k.graph, {
    kind: 'appendKv',
    scope: k.graph.scope,
    inputs: { k, v, batch: batchTensor(k.graph) },
    weights: {},
    attrs: {},
    outputs: { keys: cache.keys, values: cache.values },
  });
  return cache;
}
