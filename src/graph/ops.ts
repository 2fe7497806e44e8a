/**
 * @file One function per op: checks shapes, throws with names, records. Families are written in these words. Formulas
 * stand with the op types in graph.ts. Knows nothing of kernels, devices or formats.
 */
import { ShapeError } from '../errors.ts';
import {
  createTensor,
  type Graph,
  type RopePairing,
  type RouteOp,
  record,
  rowSize,
  type SamplePickOp,
  sessionTensor,
  type Tensor,
  viewColumns,
  type Weight,
} from './graph.ts';

/** Keys and values of one layer: [capacity, kv_heads, k_dim] and [capacity, kv_heads, v_dim], f32 or packed f16. */
export interface KvCache {
  readonly keys: Tensor;
  readonly values: Tensor;
}

const rowsOf = (t: Tensor): number => t.shape[0]!;

function fail(graph: Graph, what: string, found: string, wanted: string): never {
  throw new ShapeError(`${graph.scope || 'graph'}: ${what}: found ${found}, wanted ${wanted}`);
}

function expectCols(x: Tensor, cols: number, what: string): void {
  if (rowSize(x) !== cols) fail(x.graph, what, `rows of ${rowSize(x)}`, `rows of ${cols}`);
}

function expectSameShape(a: Tensor, b: Tensor, what: string): void {
  if (a.shape.join() !== b.shape.join()) fail(a.graph, what, `[${a.shape}] and [${b.shape}]`, 'equal shapes');
}

/** Heads are read as vec4. */
function expectHeads(t: Tensor, what: string): [rows: number, heads: number, headDim: number] {
  const [rows, heads, headDim] = t.shape;
  if (t.shape.length !== 3 || headDim! % 4 !== 0) {
    fail(t.graph, what, `[${t.shape}]`, '[rows, heads, head_dim] with head_dim a multiple of 4');
  }
  return [rows!, heads!, headDim!];
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

/** The experts of each row and what their outputs are multiplied with, both [rows, k]. */
export interface Routing {
  readonly experts: Tensor;
  readonly scales: Tensor;
}

/** What one workgroup ranks, and what a row's slots are: limits of the kernels. */
const MAX_EXPERTS = 512;
const MAX_EXPERTS_PER_TOKEN = 16;

/** logits [rows, experts] -> the k experts of each row. */
export function route(logits: Tensor, attrs: RouteOp['attrs'], bias?: Weight): Routing {
  const { graph } = logits;
  const numExperts = rowSize(logits);
  const { k, numGroups, keptGroups } = attrs;
  const perGroup = numExperts / numGroups;
  if (numExperts > MAX_EXPERTS || k > MAX_EXPERTS_PER_TOKEN || k < 1) {
    fail(
      graph,
      'route',
      `${k} of ${numExperts} experts`,
      `at most ${MAX_EXPERTS_PER_TOKEN} of ${MAX_EXPERTS}`,
    );
  }
  if (!Number.isInteger(perGroup) || keptGroups > numGroups || k > keptGroups * perGroup) {
    fail(
      graph,
      'route',
      `${k} of ${numExperts} experts, ${keptGroups} of ${numGroups} groups`,
      'equal groups that hold enough experts',
    );
  }
  if (numGroups > 1 && perGroup < 2) fail(graph, 'route', 'groups of one expert', 'two or more in each');
  if (bias && bias.cols !== numExperts)
    fail(graph, `bias ${bias.key}`, `${bias.cols} values`, `${numExperts}`);
  if (bias && attrs.scoring === 'softmax')
    fail(graph, 'route', `softmax with the bias ${bias.key}`, 'a bias with sigmoid scores only');
  const experts = createTensor(graph, [rowsOf(logits), k], { dtype: 'u32', name: `${graph.scope}.experts` });
  const scales = createTensor(graph, [rowsOf(logits), k], { name: `${graph.scope}.scales` });
  record(graph, {
    kind: 'route',
    scope: graph.scope,
    inputs: { logits },
    weights: bias ? { bias } : {},
    attrs,
    outputs: { experts, scales },
  });
  return { experts, scales };
}

/** x [rows, cols], or [rows, k, cols], times the matrices of each row's experts -> [rows, k, weight.unitRows]. */
export function expertLinear(x: Tensor, weight: Weight, { experts }: Routing): Tensor {
  const k = rowSize(experts);
  const isShared = x.shape.length === 2;
  if (x.shape.at(-1) !== weight.cols || (!isShared && x.shape[1] !== k)) {
    fail(
      x.graph,
      `expertLinear ${weight.key}`,
      `[${x.shape}]`,
      `rows of ${weight.cols}, or of ${k} times that`,
    );
  }
  if (weight.unitRows % 4 !== 0 || weight.cols % 4 !== 0) {
    fail(
      x.graph,
      `expertLinear ${weight.key}`,
      `experts of [${weight.unitRows}, ${weight.cols}]`,
      'multiples of 4',
    );
  }
  const out = createTensor(x.graph, [rowsOf(x), k, weight.unitRows]);
  record(x.graph, {
    kind: 'expertLinear',
    scope: x.graph.scope,
    inputs: { x, experts },
    weights: { weight },
    attrs: { eps: 0, activation: 'none', tile: undefined },
    outputs: { out },
  });
  return out;
}

/** x [rows, k, n] -> [rows, n], slots weighted by the routing's scales. */
export function combineExperts(x: Tensor, { scales }: Routing): Tensor {
  const [rows, k, n] = x.shape as [number, number, number];
  if (x.shape.length !== 3 || rowSize(scales) !== k) {
    fail(x.graph, 'combineExperts', `[${x.shape}] and [${scales.shape}]`, '[rows, k, n] and [rows, k]');
  }
  const out = createTensor(x.graph, [rows, n]);
  record(x.graph, {
    kind: 'combineExperts',
    scope: x.graph.scope,
    inputs: { x, scales },
    weights: {},
    attrs: {},
    outputs: { out },
  });
  return out;
}

/** x [rows, n] * sigmoid(gate [rows, 1]). */
export function sigmoidGate(x: Tensor, gate: Tensor): Tensor {
  expectCols(gate, 1, 'sigmoidGate');
  const out = createTensor(x.graph, x.shape);
  record(x.graph, {
    kind: 'sigmoidGate',
    scope: x.graph.scope,
    inputs: { x, gate },
    weights: {},
    attrs: {},
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

/**
 * Tokens that one workgroup of `sampleScale` sums up: a power of two that makes at most 512 blocks, which is what
 * `samplePick` looks through in one workgroup.
 */
const sampleBlockSize = (vocab: number): number => Math.max(512, 2 ** Math.ceil(Math.log2(vocab / 512)));
/** Words that it leaves for each block. */
const SAMPLE_BLOCK_WORDS = 8;

/** Words of a result; the layout of all that host and sampler exchange is in kernels/sample/layout.ts. */
const RESULT_WORDS = 16;

/** Where the sampler writes, beside `counts`: session tensors that outlive the step. */
const sampled = (graph: Graph, rows: number) => ({
  token: sessionTensor(graph, 'token', [1], 'u32'),
  result: sessionTensor(graph, 'result', [rows, RESULT_WORDS], 'u32'),
});

/** logits [1, vocab] of the step's last row -> the id of the next token, in the session tensors `token` and `result`. */
export function sample(logits: Tensor): Tensor {
  if (rowsOf(logits) !== 1) fail(logits.graph, 'sample', `${rowsOf(logits)} rows`, 'one row of logits');
  const { token, result } = sampled(logits.graph, 1);
  recordSampler(logits, { token, result, isCounted: true }, { row: undefined, ahead: 1 });
  return token;
}

/**
 * Samples behind each row of logits [rows, vocab], as long as the tokens u32 [rows] that the rows were computed from are what
 * was sampled before them: results in the rows of the session tensor `result`, the last sampled id in `token`.
 */
export function sampleRows(logits: Tensor, tokens: Tensor): void {
  const rows = rowsOf(logits);
  if (rowsOf(tokens) !== rows) fail(logits.graph, 'sampleRows', `${rowsOf(tokens)} tokens`, `${rows}`);
  const { token, result } = sampled(logits.graph, rows);
  for (let row = 0; row < rows; row++) {
    const attrs = { row, ahead: 1 };
    recordSampler(logits, { token, result, isCounted: true }, attrs, tokens);
  }
}

/**
 * logits [1, vocab] of what may stand two positions behind the step's last row -> a guess of that token in `token`. It is
 * drawn by the rules and the random number that the token itself will be drawn by: the more alike the distributions, the
 * likelier the two are equal. It is not counted.
 */
export function sampleDraft(logits: Tensor, token: Tensor): void {
  if (rowsOf(logits) !== 1) fail(logits.graph, 'draft', `${rowsOf(logits)} rows`, 'one row of logits');
  const result = createTensor(logits.graph, [1, RESULT_WORDS], { dtype: 'u32' });
  recordSampler(logits, { token, result, isCounted: false }, { row: undefined, ahead: 2 });
}

function recordSampler(
  logits: Tensor,
  { token, result, isCounted }: { token: Tensor; result: Tensor; isCounted: boolean },
  attrs: Pick<SamplePickOp['attrs'], 'row' | 'ahead'>,
  tokens?: Tensor,
): void {
  const { graph } = logits;
  const vocab = rowSize(logits);
  const sampling = sessionTensor(graph, 'sampling', [16], 'u32');
  const counts = sessionTensor(graph, 'counts', [vocab], 'u32');
  const bias = sessionTensor(graph, 'bias', [vocab], 'f32');
  const scaled = createTensor(graph, [1, vocab]);
  const blockSize = sampleBlockSize(vocab);
  const numBlocks = Math.ceil(vocab / blockSize);
  const blocks = createTensor(graph, [numBlocks, SAMPLE_BLOCK_WORDS], { dtype: 'u32' });
  const scope = graph.scope;
  record(graph, {
    kind: 'sampleScale',
    scope,
    inputs: { logits, sampling, counts, bias },
    weights: {},
    attrs: { blockSize, row: attrs.row },
    outputs: { scaled, blocks },
  });
  record(graph, {
    kind: 'samplePick',
    scope,
    inputs: { logits, scaled, blocks, sampling, ...(tokens && { tokens }) },
    weights: {},
    attrs: { blockSize, ...attrs },
    outputs: { token, ...(isCounted && { counts }), result },
  });
}
