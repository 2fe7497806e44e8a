/**
 * @file The recorded graph: tensors, weights and ops as plain data. Recording needs no GPU and touches no bytes of a
 * checkpoint. This file knows shapes and names; it must not know WebGPU, kernels, models or file formats.
 */
import { ShapeError } from '../errors.ts';

/** Element types of activations. `f16` is stored as pairs in a u32 (WGSL pack2x16float), so it needs no feature. */
export type DType = 'f32' | 'f16' | 'u32';

/**
 * A tensor of the graph. `shape[0]` counts rows (tokens); everything behind it is one row, contiguous.
 * Row r starts at element `offset + r * rowStride` of its buffer; strides are multiples of 4 so that rows of f32 can be
 * read as vec4. A view shares the buffer of `base`.
 */
export interface Tensor {
  readonly graph: Graph;
  readonly id: number;
  /** Checkpoint-style module path, e.g. `model.layers.3.self_attn.o_proj`. */
  name: string;
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly rowStride: number;
  readonly offset: number;
  readonly base: Tensor | undefined;
  /** `step`: lives inside one step, in a slot that others reuse. `session`: a buffer of its own, shared by name between programs. */
  readonly lifetime: 'step' | 'session';
}

/** A WGSL file as text, with its path for error messages. */
export interface WgslFile {
  readonly file: string;
  readonly text: string;
}

/**
 * How a weight's values are packed on the GPU: one row of the table in src/weights/formats.ts.
 *
 * The fragment is WGSL that defines
 *   `const block_vec4s: u32`  (values per block / 4) and
 *   `fn load_block(row: u32, block: u32) -> array<vec4<f32>, block_vec4s>`
 * over the bindings `weight_<section>` and the constant `weight_row_blocks` (blocks per row). Rows are padded with zeros
 * to whole blocks; `row` counts from the first row of the bound part.
 */
export interface WeightFormat {
  readonly name: string;
  /** Values per block along a row. */
  readonly blockSize: number;
  readonly fragment: WgslFile;
  readonly sections: readonly WeightSection[];
  /** True when every value is a float16, so that f16 tiles hold it exactly enough. */
  readonly fitsF16: boolean;
}

export interface WeightSection {
  /** Bound as `weight_<name>`. */
  readonly name: string;
  /** WGSL element type of the storage array, e.g. `vec4<u32>`. */
  readonly type: string;
  /** Bytes of one row of `cols` values. */
  rowBytes(cols: number): number;
}

/** How several checkpoint tensors make one matrix: one after another, or row by row in turn (gate 0, up 0, gate 1, ...). */
export type WeightLayout = 'stacked' | 'interleaved';

/** A weight of the checkpoint, by name. A matrix is [rows (outputs), cols (inputs)]; a vector is [1, cols], always f32. */
export interface Weight {
  /** Unique, and the name in labels; the same key in two graphs is the same GPU weight. */
  readonly key: string;
  /** Checkpoint names, each with its own number of rows. */
  readonly names: readonly string[];
  readonly rowsOf: readonly number[];
  /** So many consecutive names give their rows in turn (gate and up: 2); 1: names stand one after another. */
  readonly interleave: number;
  /** Rows that one buffer must hold together: those of an expert or of a head. 1 for a plain matrix. */
  readonly unitRows: number;
  readonly rows: number;
  readonly cols: number;
  readonly isVector: boolean;
  readonly format: WeightFormat;
}

/** Rotary tables come per step: f32 [rows, 2 * half], cos then sin, made on the CPU in f64 (WGSL sin/cos may be off by 2^-11). */
export type RopePairing = 'half' | 'interleaved';

interface OpRecord<K extends string, Inputs, Weights, Attrs, Outputs> {
  readonly kind: K;
  /** Module path of the layer it belongs to, for plans, dumps and profiles. */
  readonly scope: string;
  readonly inputs: Readonly<Inputs>;
  readonly weights: Readonly<Weights>;
  readonly attrs: Readonly<Attrs>;
  readonly outputs: Readonly<Outputs>;
}

type Out = { out: Tensor };

/** out[r] = table[tokens[r]]. tokens u32 [rows]; an id outside the table gives a row of NaN. */
export type EmbedOp = OpRecord<'embed', { tokens: Tensor }, { weight: Weight }, object, Out>;
/** out = x / sqrt(mean(x^2) + eps) * norm, over the last dim of x (each head when x is [rows, heads, head_dim]). */
export type RmsNormOp = OpRecord<'rmsNorm', { x: Tensor }, { norm: Weight }, { eps: number }, Out>;
/**
 * y = W x (+ bias); out = epilogue(y) (+ residual). With `norm`, x is RMS-normalised first. With `swiglu`, W's rows are
 * gate and up in turn and out[n] = silu(y[2n]) * y[2n + 1].
 */
export type LinearOp = OpRecord<
  'linear',
  { x: Tensor; residual?: Tensor },
  { weight: Weight; bias?: Weight; norm?: Weight },
  { eps: number; activation: 'none' | 'swiglu' },
  Out
>;
/** Rotates the first `2 * half` values of each head of x [rows, heads, head_dim]; angles f32 [rows, 2 * half] (cos, then sin). */
export type RopeOp = OpRecord<'rope', { x: Tensor; angles: Tensor }, object, { pairing: RopePairing }, Out>;
/** Writes rows of k and v [rows, kv_heads, head_dim] to positions step.position + r of the caches [capacity, kv_heads, head_dim]. */
export type AppendKvOp = OpRecord<
  'appendKv',
  { k: Tensor; v: Tensor },
  object,
  object,
  { keys: Tensor; values: Tensor }
>;
/** RMS-norms heads of q and k (when the norms are given), rotates both, appends k and v to the caches; out is q: appendKv, rope and rmsNorm in one. */
export type PrepareHeadsOp = OpRecord<
  'prepareHeads',
  { q: Tensor; k: Tensor; v: Tensor; angles: Tensor },
  { qNorm?: Weight; kNorm?: Weight },
  { eps: number; pairing: RopePairing },
  { out: Tensor; keys: Tensor; values: Tensor }
>;
/**
 * Causal grouped-query attention of q [rows, heads, k_dim] over cache positions 0 .. step.position + r:
 * out[r, h] = sum_t softmax_t(scale * q[r, h] . keys[t, g]) values[t, g], g = floor(h * kv_heads / heads). keys [capacity,
 * kv_heads, k_dim], values [capacity, kv_heads, v_dim] (with latent attention a view of the keys' buffer). out [rows, heads * v_dim].
 */
export type AttendOp = OpRecord<
  'attend',
  { q: Tensor; keys: Tensor; values: Tensor },
  object,
  { scale: number },
  Out
>;
/** How `attendSplit` cuts a context, and `attendMerge` expects it. */
export interface Splitting {
  readonly splitLength: number;
  readonly maxSplits: number;
  /** Workgroups that each split has. */
  readonly groups: number;
}
/**
 * The first half of `attend` for few rows: the step's context is cut into splits of `splitLength` positions, or a multiple
 * of that when it would be more than `maxSplits` or, with `groups` workgroups each, more than fill the device. Each
 * gives a partial result: partials f32 [rows, heads, maxSplits, v_dim + 2 (weighted sum, largest score in units of ln 2, sum
 * of exponentials), padded to a multiple of 4].
 */
export type AttendSplitOp = OpRecord<
  'attendSplit',
  { q: Tensor; keys: Tensor; values: Tensor },
  object,
  { scale: number } & Splitting,
  { partials: Tensor }
>;
/** The second half: merges the partial results of all splits below the step's context. */
export type AttendMergeOp = OpRecord<'attendMerge', { partials: Tensor }, object, Splitting, Out>;
/**
 * Chooses the k experts of each row. logits f32 [rows, experts]; experts u32 [rows, k], best first; scales f32 [rows, k].
 *   softmax: score = softmax(logits), chosen by score. sigmoid: score = sigmoid(logits), chosen by score + bias.
 *   With numGroups > 1 experts count off into groups of equal size, and only those of the keptGroups groups are eligible
 *   whose two best choice scores have the largest sum.
 *   scale = score of the chosen (never with the bias), divided by the sum over the chosen if `normalize`, times `scale`.
 * Equal scores: the lowest expert (or group) first. A row with a NaN or an infinity among its logits has valid experts and
 * NaN scales, so that it shows in the output. Formulas: DeepSeek-V3 inference/model.py (Gate); transformers Qwen3MoeSparseMoeBlock.
 */
export type RouteOp = OpRecord<
  'route',
  { logits: Tensor },
  { bias?: Weight },
  {
    k: number;
    scoring: 'softmax' | 'sigmoid';
    numGroups: number;
    keptGroups: number;
    normalize: boolean;
    scale: number;
  },
  { experts: Tensor; scales: Tensor }
>;
/**
 * Sorts the step's entries (entry = row * k + slot) by expert, so that a tile of a matmul has one expert. entries u32
 * [rows * k]; tiles u32 [tiles, 4]: expert, first entry, number of entries (at most tileRows), 0; dispatch u32 [4]: the
 * grid (columnTiles, tiles of this step, 1) of an indirect dispatch, and 0. Experts without entries have no tile.
 */
export type GroupEntriesOp = OpRecord<
  'groupEntries',
  { experts: Tensor },
  object,
  { numExperts: number; tileRows: number; columnTiles: number },
  { entries: Tensor; tiles: Tensor; dispatch: Tensor }
>;
/** What `groupEntries` gives, and the columns of a tile. */
export interface EntryTiles {
  readonly tileRows: number;
  readonly tileCols: number;
}
/**
 * y[r, s] = W[experts[r, s]] x[r, s]: the weight's units are the experts' matrices. x [rows, cols] is the same for all
 * slots, or [rows, k, cols]. out [rows, k, n]. `norm` and `swiglu` as in `linear`. With `scales` [rows, k], out [rows, n] =
 * residual + sum_s scales[r, s] y[r, s]. With entries, tiles and dispatch, whoever has many rows may go tile by tile.
 */
export type ExpertLinearOp = OpRecord<
  'expertLinear',
  {
    x: Tensor;
    experts: Tensor;
    scales?: Tensor;
    residual?: Tensor;
    entries?: Tensor;
    tiles?: Tensor;
    dispatch?: Tensor;
  },
  { weight: Weight; norm?: Weight },
  { eps: number; activation: 'none' | 'swiglu'; tile: EntryTiles | undefined },
  Out
>;
/** out[r] = residual[r] + sum_s scales[r, s] x[r, s], slots in order. x [rows, k, n], scales [rows, k], out [rows, n]. */
export type CombineExpertsOp = OpRecord<
  'combineExperts',
  { x: Tensor; scales: Tensor; residual?: Tensor },
  object,
  object,
  Out
>;
/** out[r] = x[r] * sigmoid(gate[r]): x [rows, n], gate [rows, 1]. */
export type SigmoidGateOp = OpRecord<'sigmoidGate', { x: Tensor; gate: Tensor }, object, object, Out>;
/**
 * Latent attention (MLA) before the cache: for rows of q [rows, heads, nope + rope] and latent [rows, rank + rope],
 *   cache[position + r] = [rms_norm(latent[r, :rank]) | rotate(latent[r, rank:])]
 *   out[r, h] = [sum_d q[r, h, d] W[h, d] | rotate(q[r, h, nope:])], W[h, d] = row h * unitRows + d of `weight`
 * `weight` is kv_b_proj [heads * (nope + v), rank], a head its unit, so that out[r, h] . cache[t] is the attention score:
 * the key part of the up-projection is absorbed into the query. out [rows, heads, rank + rope], cache [capacity, 1, rank + rope].
 * Formula: DeepSeek-V3 inference/model.py (MLA, attn_impl "absorb").
 */
export type PrepareLatentOp = OpRecord<
  'prepareLatent',
  { q: Tensor; latent: Tensor; angles: Tensor },
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
/** out[r, n] = silu(x[r, 2n]) * x[r, 2n + 1]: gate and up in turn. */
export type SwigluOp = OpRecord<'swiglu', { x: Tensor }, object, object, Out>;
/** out = a + b. */
export type AddOp = OpRecord<'add', { a: Tensor; b: Tensor }, object, object, Out>;
/** out [1, cols] = x[step.rows - 1]: the row whose logits choose the next token. */
export type LastRowOp = OpRecord<'lastRow', { x: Tensor }, object, object, Out>;
/**
 * First half of choosing a token: penalties, logit bias and a mask on a row of logits [rows, vocab], out = scaled logits, and a summary of
 * each block of `blockSize` tokens. The temperature enters the summaries only; it divides differences, not logits. `row`: see
 * samplePick.
 */
export type SampleScaleOp = OpRecord<
  'sampleScale',
  { logits: Tensor; sampling: Tensor; counts: Tensor; bias: Tensor; mask: Tensor },
  object,
  { blockSize: number; row: number | undefined },
  { scaled: Tensor; blocks: Tensor }
>;
/**
 * Second half: temperature, top-k, top-p, min-p, the draw; writes the id to `token` (where the next step's embedding reads
 * it), counts it, and writes to `result` for the host. `logits` only tell the model's own probability of the token.
 *   Logits [rows, vocab] and results [rows, 16] have a row for each of the step, and `row` tells which; undefined: they have
 *   one, of the step's last row. The token will stand `ahead` positions behind, and its draw depends on that and the seed alone.
 *   With `tokens` u32 [rows], the tokens of all rows but the first are guesses: row r samples only if row r - 1 sampled
 *   exactly tokens[r]; else its result says that it was skipped, and nothing else changes.
 *   Without `counts` the token is not counted.
 */
export type SamplePickOp = OpRecord<
  'samplePick',
  { logits: Tensor; scaled: Tensor; blocks: Tensor; sampling: Tensor; tokens?: Tensor },
  object,
  { blockSize: number; row: number | undefined; ahead: number },
  { token: Tensor; counts?: Tensor; result: Tensor }
>;

/**
 * The `count` largest of each `partSize` entries of a row, as (id, bits of the logit): the largest first, of equal ones the
 * lowest id; the id 0xffffffff where there are fewer finite ones. x: logits f32 [rows, vocab], or what this op gave before,
 * u32 [rows, parts, count, 2]; top u32 [rows, parts, count, 2].
 */
export type TopLogitsOp = OpRecord<
  'topLogits',
  { x: Tensor },
  object,
  { count: number; partSize: number },
  { top: Tensor }
>;

export type Op =
  | EmbedOp
  | RmsNormOp
  | LinearOp
  | RopeOp
  | AppendKvOp
  | PrepareHeadsOp
  | AttendOp
  | AttendSplitOp
  | AttendMergeOp
  | RouteOp
  | GroupEntriesOp
  | ExpertLinearOp
  | CombineExpertsOp
  | SigmoidGateOp
  | PrepareLatentOp
  | HeadLinearOp
  | SwigluOp
  | AddOp
  | LastRowOp
  | SampleScaleOp
  | SamplePickOp
  | TopLogitsOp;

export type OpKind = Op['kind'];
export type OpOf<K extends OpKind> = Extract<Op, { kind: K }>;

/** Tells how a weight made of these tensors is stored; throws when the checkpoint lacks one or contradicts a shape. */
export type WeightResolver = (
  names: readonly string[],
  shapes: readonly (readonly number[])[],
) => WeightFormat;

/** An op list under construction. Ops run in the order they were recorded. */
export interface Graph {
  readonly ops: Op[];
  readonly tensors: Tensor[];
  readonly weights: Map<string, Weight>;
  readonly resolve: WeightResolver;
  scope: string;
}

export function createGraph(resolve: WeightResolver): Graph {
  return { ops: [], tensors: [], weights: new Map(), resolve, scope: '' };
}

const align4 = (n: number): number => Math.ceil(n / 4) * 4;

/** Values in one row of a tensor: the product of all dims but the first. */
export const rowSize = (t: Pick<Tensor, 'shape'>): number => t.shape.slice(1).reduce((a, b) => a * b, 1);

/** Bytes of the buffer a tensor needs (not for views). */
export function tensorBytes(t: Tensor): number {
  const elements = t.shape[0]! * t.rowStride;
  return t.dtype === 'f16' ? elements * 2 : elements * 4;
}

/** The tensor that owns the buffer. */
export const baseOf = (t: Tensor): Tensor => t.base ?? t;

interface TensorOptions {
  dtype?: DType;
  name?: string;
  lifetime?: 'step' | 'session';
}

/** A new tensor. A u32 or f32 tensor of one dim (tokens, counts) is one row per element without padding. */
export function createTensor(graph: Graph, shape: readonly number[], options: TensorOptions = {}): Tensor {
  for (const n of shape) {
    if (!Number.isSafeInteger(n) || n < 1) {
      throw new ShapeError(
        `${graph.scope || 'graph'}: every dim must be a positive integer, found [${shape.join(', ')}]`,
      );
    }
  }
  const tensor: Tensor = {
    graph,
    id: graph.tensors.length,
    name: options.name ?? graph.scope,
    shape,
    dtype: options.dtype ?? 'f32',
    rowStride: shape.length === 1 ? 1 : align4(rowSize({ shape })),
    offset: 0,
    base: undefined,
    lifetime: options.lifetime ?? 'step',
  };
  graph.tensors.push(tensor);
  return tensor;
}

/** A view of columns [begin, begin + product(dims)) of every row of x, seen as [rows, ...dims]. */
export function viewColumns(x: Tensor, begin: number, dims: readonly number[]): Tensor {
  const size = dims.reduce((a, b) => a * b, 1);
  if (begin + size > rowSize(x)) {
    throw new ShapeError(
      `${x.name}: columns ${begin} to ${begin + size} were asked of a row of ${rowSize(x)}; check the head counts of the config`,
    );
  }
  const view: Tensor = {
    ...x,
    id: x.graph.tensors.length,
    shape: [x.shape[0]!, ...dims],
    offset: x.offset + begin,
    base: baseOf(x),
  };
  x.graph.tensors.push(view);
  return view;
}

/** A view of row `row` of x. */
export function viewRow(x: Tensor, row: number): Tensor {
  if (row >= x.shape[0]!) throw new ShapeError(`${x.name}: row ${row} was asked of ${x.shape[0]}`);
  const view: Tensor = {
    ...x,
    id: x.graph.tensors.length,
    shape: [1, ...x.shape.slice(1)],
    offset: x.offset + row * x.rowStride,
    base: baseOf(x),
  };
  x.graph.tensors.push(view);
  return view;
}

/** A tensor that outlives the step (a cache, a token id, sampler state): the same name gives the same tensor within a graph, and the same buffer across programs. */
export function sessionTensor(graph: Graph, name: string, shape: readonly number[], dtype: DType): Tensor {
  const known = graph.tensors.find((t) => t.lifetime === 'session' && t.name === name && !t.base);
  return known ?? createTensor(graph, shape, { name, dtype, lifetime: 'session' });
}

export function record<O extends Op>(graph: Graph, op: O): O {
  graph.ops.push(op);
  return op;
}

/** Tensors an op reads, views resolved by the caller. */
export const opInputs = (op: Op): Tensor[] =>
  Object.values(op.inputs).filter((t): t is Tensor => t !== undefined);
export const opOutputs = (op: Op): Tensor[] =>
  Object.values(op.outputs).filter((t): t is Tensor => t !== undefined);
export const opWeights = (op: Op): Weight[] =>
  Object.values(op.weights as Record<string, Weight | undefined>).filter((w): w is Weight => w !== undefined);

/** The names a family uses for weights, relative to where it stands in the checkpoint. */
export class Weights {
  readonly graph: Graph;
  readonly path: string;
  constructor(graph: Graph, path = '') {
    this.graph = graph;
    this.path = path;
  }

  /** The weights below `name`, e.g. `at('layers', 3)`. Ops recorded by `run` carry this path. */
  at(...names: (string | number)[]): Weights {
    return new Weights(this.graph, [this.path, ...names].filter((s) => s !== '').join('.'));
  }

  /** Runs a piece of a family with this path as the scope of its ops. */
  run<T>(body: (w: Weights) => T): T {
    const outer = this.graph.scope;
    this.graph.scope = this.path;
    try {
      return body(this);
    } finally {
      this.graph.scope = outer;
    }
  }

  /** A matrix [sum(rows), cols] made of `names` (module names, without `.weight`), one row count each. `unitRows`: see Weight. */
  matrix(
    names: readonly string[],
    rowsOf: readonly number[],
    cols: number,
    { layout = 'stacked', unitRows = 1 }: { layout?: WeightLayout; unitRows?: number } = {},
  ): Weight {
    const full = names.map((n) => `${this.#full(n)}.weight`);
    return this.#weight(full.join('+'), full, rowsOf, cols, {
      interleave: layout === 'interleaved' ? names.length : 1,
      unitRows,
    });
  }

  /**
   * The matrices of all experts, `experts.<e>.<name>.weight` below this path: a unit for each expert, made of `names` as
   * `matrix` does. `rowsOf` are the rows of one expert.
   */
  experts(
    numExperts: number,
    names: readonly string[],
    rowsOf: readonly number[],
    cols: number,
    layout: WeightLayout = 'stacked',
  ): Weight {
    const each = Array.from({ length: numExperts }, (_, e) => e);
    return this.#weight(
      `${this.#full(`experts.*.${names.join('+')}`)}`,
      each.flatMap((e) => names.map((n) => `${this.#full(`experts.${e}.${n}`)}.weight`)),
      each.flatMap(() => rowsOf),
      cols,
      {
        interleave: layout === 'interleaved' ? names.length : 1,
        unitRows: rowsOf.reduce((a, b) => a + b, 0),
      },
    );
  }

  /** A vector, f32 on the GPU: `names` are full tensor names below this path, e.g. `q_norm.weight`. */
  vector(names: readonly string[], sizes: readonly number[]): Weight {
    const full = names.map((n) => this.#full(n));
    const cols = sizes.reduce((a, b) => a + b, 0);
    return this.#weight(full.join('+'), full, sizes, cols, undefined);
  }

  #full(name: string): string {
    return this.path ? `${this.path}.${name}` : name;
  }

  /** `matrix` is undefined for a vector. */
  #weight(
    key: string,
    names: readonly string[],
    rowsOf: readonly number[],
    cols: number,
    matrix: Pick<Weight, 'interleave' | 'unitRows'> | undefined,
  ): Weight {
    const known = this.graph.weights.get(key);
    if (known) return known;
    const weight: Weight = {
      key,
      names,
      rowsOf,
      interleave: 1,
      unitRows: 1,
      ...matrix,
      rows: matrix ? rowsOf.reduce((a, b) => a + b, 0) : 1,
      cols,
      isVector: !matrix,
      format: this.graph.resolve(
        names,
        rowsOf.map((rows) => (matrix ? [rows, cols] : [rows])),
      ),
    };
    this.graph.weights.set(key, weight);
    return weight;
  }
}
