/**
 * @file The recorded graph: tensors and a list of ops as plain data. Recording needs no GPU and touches no bytes of a
 * checkpoint. This file knows shapes and names; it must not know what single ops mean (ops/), WebGPU, kernels, models or
 * file formats.
 */
import { ShapeError } from '../errors.ts';
import { type BatchLayout, batchWords, ROW_HEAD, rowWords } from './batch.ts';
import type { Weight, WeightGraph, WeightResolver } from './weight.ts';

/**
 * Element types of activations. `f16` is stored as pairs in a u32 (WGSL pack2x16float), so it needs no feature. `int8` is of KV
 * caches only: the rows are followed by an f32 scale for each row and head.
 */
export type DType = 'f32' | 'f16' | 'u32' | 'int8';

/**
 * What a tensor that outlives a pass is for, which says how its buffer grows and what going back means:
 *   `kv`: one block of keys or values of a layer; the buffer has as many as the pool. Going back is forgetting (`truncate`), and in a
 *     group of layers with a window only as far as the blocks that the window needs are still there (`window`).
 *   `state`: of a recurrent layer, one for each slot. Going back needs a copy made there (`snapshot`).
 *   `input`: written by the host before a pass.
 *   `sampler`: one for each slot: what the sampler knows of a running sequence.
 *   `carry`: from one program to the next of the same batch.
 */
export type SessionRole =
  | {
      readonly kind: 'kv';
      readonly rewind: 'truncate' | 'window';
      readonly layer: number;
      readonly group: number;
    }
  | { readonly kind: 'state'; readonly rewind: 'snapshot'; readonly layer: number }
  | { readonly kind: 'input' | 'sampler' | 'carry' };

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
  /** Of a tensor that outlives the step. */
  readonly role: SessionRole | undefined;
}

/** What every op is. */
export interface OpRecord<K extends string, Inputs, Weights, Attrs, Outputs> {
  readonly kind: K;
  /** Module path of the layer it belongs to, for plans, dumps and profiles. */
  readonly scope: string;
  readonly inputs: Readonly<Inputs>;
  readonly weights: Readonly<Weights>;
  readonly attrs: Readonly<Attrs>;
  readonly outputs: Readonly<Outputs>;
}

/** Of the many ops that give one tensor. */
export type Out = { out: Tensor };

/**
 * Every op by its kind. A file in ops/ describes its ops and adds them here (`declare module '../graph.ts'`), so that this
 * file knows none of them and `Op` is still the closed union of all.
 */
// biome-ignore lint/suspicious/noEmptyInterface: its members are in ops/.
export interface OpTable {}
export type Op = OpTable[keyof OpTable];
export type OpKind = Op['kind'];
export type OpOf<K extends OpKind> = Extract<Op, { kind: K }>;

/** An op list under construction. Ops run in the order they were recorded. */
export interface Graph extends WeightGraph {
  readonly ops: Op[];
  readonly tensors: Tensor[];
  readonly layout: BatchLayout;
}

/** A table for graphs whose ops ask nothing of rows. */
const NO_BATCH: BatchLayout = { rows: 1, slots: 1, capacity: 1, windows: [undefined], rotated: 0 };

export function createGraph(resolve: WeightResolver, layout: BatchLayout = NO_BATCH): Graph {
  return { ops: [], tensors: [], weights: new Map(), resolve, scope: '', layout };
}

const align4 = (n: number): number => Math.ceil(n / 4) * 4;

/** Values in one row of a tensor: the product of all dims but the first. */
export const rowSize = (t: Pick<Tensor, 'shape'>): number => t.shape.slice(1).reduce((a, b) => a * b, 1);

/** Bytes of the buffer a tensor needs (not for views). */
export function tensorBytes(t: Tensor): number {
  const elements = t.shape[0]! * t.rowStride;
  if (t.dtype === 'int8') return elements + 4 * t.shape[0]! * t.shape[1]!;
  return t.dtype === 'f16' ? elements * 2 : elements * 4;
}

/** The tensor that owns the buffer. */
export const baseOf = (t: Tensor): Tensor => t.base ?? t;

interface TensorOptions {
  dtype?: DType;
  name?: string;
  /** Makes it outlive the step. */
  role?: SessionRole;
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
    lifetime: options.role ? 'session' : 'step',
    role: options.role,
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

/** A tensor that outlives the step: the same name gives the same tensor within a graph, and the same buffer across programs. */
export function sessionTensor(
  graph: Graph,
  name: string,
  shape: readonly number[],
  dtype: DType,
  role: SessionRole,
): Tensor {
  const known = graph.tensors.find((t) => t.lifetime === 'session' && t.name === name && !t.base);
  return known ?? createTensor(graph, shape, { name, dtype, role });
}

/** The table of the batch, as an input. */
export const batchTensor = (graph: Graph): Tensor =>
  sessionTensor(graph, 'batch', [batchWords(graph.layout)], 'u32', { kind: 'input' });

/** The rotary tables of the first rows, f32 [rows, rotated]: a view of the table. */
export function rotaryTables(graph: Graph, rows: number): Tensor {
  const base = batchTensor(graph);
  const { rotated } = graph.layout;
  const view: Tensor = {
    ...base,
    id: graph.tensors.length,
    name: 'angles',
    shape: [rows, rotated],
    dtype: 'f32',
    rowStride: rowWords(graph.layout),
    offset: ROW_HEAD,
    base,
  };
  graph.tensors.push(view);
  return view;
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
