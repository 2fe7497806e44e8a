/** @file Mixtures of experts: routing, the chosen experts' matrices, their weighted sum. */
import type { Activation } from '../activation.ts';
import {
  baseOf,
  createTensor,
  type OpRecord,
  type Out,
  opOutputs,
  record,
  rowSize,
  type Tensor,
} from '../graph.ts';
import { fail, rowsOf } from '../shapes.ts';
import type { Weight } from '../weight.ts';

/**
 * Chooses the k experts of each row. logits f32 [rows, experts]; experts u32 [rows, k], best first; scales f32 [rows, k].
 *   softmax: score = softmax(logits), chosen by score. sigmoid: score = sigmoid(logits), chosen by score + bias.
 *   With numGroups > 1 experts count off into groups of equal size, and only those of the keptGroups groups are eligible
 *   whose best choice scores, `groupBest` of them, have the largest sum.
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
    groupBest: 1 | 2;
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
 * slots, or [rows, k, cols]. out [rows, k, n]. `norm` and `gate` as in `linear`. With `scales` [rows, k], out [rows, n] =
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
  { eps: number; gate: Activation | undefined; tile: EntryTiles | undefined },
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

declare module '../graph.ts' {
  interface OpTable {
    route: RouteOp;
    groupEntries: GroupEntriesOp;
    expertLinear: ExpertLinearOp;
    combineExperts: CombineExpertsOp;
  }
}

/** The experts of each row and what their outputs are multiplied with, both [rows, k]. */
export interface Routing {
  readonly experts: Tensor;
  readonly scales: Tensor;
}

/** What one workgroup ranks, and what a row's slots are: limits of the kernels. */
export const MAX_EXPERTS = 512;

export const MAX_EXPERTS_PER_TOKEN = 16;

/** logits [rows, experts] -> the k experts of each row. The matrix they come from must have the role of a router, which no format rounds. */
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
  const source = graph.ops.findLast((op) => opOutputs(op).includes(baseOf(logits)));
  if (source?.kind === 'linear' && source.weights.weight.role !== 'router') {
    fail(
      graph,
      `route by ${source.weights.weight.key}`,
      `a ${source.weights.weight.role}`,
      'the role router',
    );
  }
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
    attrs: { eps: 0, gate: undefined, tile: undefined },
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
