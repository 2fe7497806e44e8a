/**
 * @file One function per op: checks shapes, throws with names, records. Families are written in these words. Formulas
 * stand with the op types in graph.ts. Knows nothing of kernels, devices or formats.
 */
import {
  createTensor,
  type Graph,
  type RopePairing,
  record,
  rowSize,
  sessionTensor,
  type Tensor,
  viewColumns,
  type Weight,
} from './graph.ts';
import { expectCols, expectHeads, expectSameShape, fail, rowsOf } from './shapes.ts';

/** Keys and values of one layer: [capacity, kv_heads, k_dim] and [capacity, kv_heads, v_dim], f32 or packed f16. */
export interface KvCache {
  readonly keys: Tensor;
  readonly values: Tensor;
}

/** tokens u32 [rows] -> f32 [rows, hidden]. */
export function embed(tokens: Tensor, weight: Weight): Tensor {
  const out = createTensor(tokens.graph, [rowsOf(tokens), weight.cols]);
  record(tokens.graph, {
    kind: 'embed',
    scope: tokens.graph.scope,
    inputs: { tokens },
    weights: { weight },
    attrs: {},
    outputs: { out },
  });
  return out;
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

/** x [rows, cols] -> [rows, weight.rows]. */
export function linear(x: Tensor, weight: Weight, bias?: Weight): Tensor {
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
    attrs: { eps: 0, activation: 'none' },
    outputs: { out },
  });
  return out;
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
    inputs: { q, keys: cache.keys, values: cache.values },
    weights: {},
    attrs: { scale },
    outputs: { out },
  });
  return out;
}

/**
 * The latent cache of a layer, one row of rank + rope values per position for all heads: `prepareLatent` appends
 * `latent` [rows, rank + rope] and gives q [rows, heads, nope + rope] in its terms. The result attends over `cache`, whose
 * values are the first `rank` of its keys. `norm` [rank]; `weight` is kv_b_proj, a head its unit.
 */
export function prepareLatent(
  { q, latent, angles }: { q: Tensor; latent: Tensor; angles: Tensor },
  { norm, weight }: { norm: Weight; weight: Weight },
  {
    layer,
    capacity,
    dtype,
    eps,
    pairing,
  }: { layer: number; capacity: number; dtype: 'f16' | 'f32'; eps: number; pairing: RopePairing },
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
  const cache = sessionTensor(graph, `kv.${layer}.latent`, [capacity, 1, rank + rotated], dtype);
  const out = createTensor(graph, [rows, heads, rank + rotated]);
  record(graph, {
    kind: 'prepareLatent',
    scope: graph.scope,
    inputs: { q, latent, angles },
    weights: { norm, weight },
    attrs: { eps, pairing },
    outputs: { out, cache },
  });
  return { q: out, cache: { keys: cache, values: viewColumns(cache, 0, [1, rank]) } };
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

/** x [rows, 2n] or [rows, k, 2n], gate and up in turn -> half as many columns. */
export function swiglu(x: Tensor): Tensor {
  const cols = x.shape.at(-1)!;
  if (cols % 2 !== 0) fail(x.graph, 'swiglu', `rows of ${cols}`, 'pairs of gate and up');
  const out = createTensor(x.graph, [...x.shape.slice(0, -1), cols / 2]);
  record(x.graph, {
    kind: 'swiglu',
    scope: x.graph.scope,
    inputs: { x },
    weights: {},
    attrs: {},
    outputs: { out },
  });
  return out;
}

export function add(a: Tensor, b: Tensor): Tensor {
  expectSameShape(a, b, 'add');
  const out = createTensor(a.graph, a.shape);
  record(a.graph, {
    kind: 'add',
    scope: a.graph.scope,
    inputs: { a, b },
    weights: {},
    attrs: {},
    outputs: { out },
  });
  return out;
}

/** The last row of the step that counts: [rows, cols] -> [1, cols]. */
export function lastRow(x: Tensor): Tensor {
  const out = createTensor(x.graph, [1, rowSize(x)]);
  record(x.graph, {
    kind: 'lastRow',
    scope: x.graph.scope,
    inputs: { x },
    weights: {},
    attrs: {},
    outputs: { out },
  });
  return out;
}
