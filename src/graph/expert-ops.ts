/** @file The ops of mixtures of experts, as ops.ts has the others: routing, the chosen experts' matrices, their weighted sum. */
import { createTensor, type RouteOp, record, rowSize, type Tensor, type Weight } from './graph.ts';
import { expectCols, fail, rowsOf } from './shapes.ts';

/** The experts of each row and what their outputs are multiplied with, both [rows, k]. */
export interface Routing {
  readonly experts: Tensor;
  readonly scales: Tensor;
}

/** What one workgroup ranks, and what a row's slots are: limits of the kernels. */
export const MAX_EXPERTS = 512;
export const MAX_EXPERTS_PER_TOKEN = 16;

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
