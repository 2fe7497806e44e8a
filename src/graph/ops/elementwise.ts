/** @file Ops that look at one value, or one pair, at a time; and the choice of a row. */

import type { Activation } from '../activation.ts';
import {
  batchTensor,
  createTensor,
  type OpRecord,
  type Out,
  record,
  rowSize,
  type Tensor,
} from '../graph.ts';
import { expectCols, expectSameShape, fail } from '../shapes.ts';

/** out = a + b. */
export type AddOp = OpRecord<'add', { a: Tensor; b: Tensor }, object, object, Out>;

/** out[r, n] = activate(x[r, 2n]) * x[r, 2n + 1]: gate and up in turn; or, with `up`, activate(x[r, n]) * up[r, n]. With silu this is SwiGLU. */
export type GateOp = OpRecord<'gate', { x: Tensor; up?: Tensor }, object, { activation: Activation }, Out>;

/** out[r] = x[r] * sigmoid(gate[r]): x [rows, n], gate [rows, 1]. */
export type SigmoidGateOp = OpRecord<'sigmoidGate', { x: Tensor; gate: Tensor }, object, object, Out>;

/** out[s] = x[the last row of sequence s]: the rows whose logits choose the next tokens. */
export type LastRowOp = OpRecord<'lastRow', { x: Tensor; batch: Tensor }, object, object, Out>;

declare module '../graph.ts' {
  interface OpTable {
    add: AddOp;
    gate: GateOp;
    sigmoidGate: SigmoidGateOp;
    lastRow: LastRowOp;
  }
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

/** x [rows, 2n] or [rows, k, 2n], gate and up in turn -> half as many columns; or gate and `up` apart, of one shape. */
export function gate(x: Tensor, activation: Activation, up?: Tensor): Tensor {
  const cols = x.shape.at(-1)!;
  if (up) expectSameShape(x, up, 'gate');
  else if (cols % 2 !== 0) fail(x.graph, 'gate', `rows of ${cols}`, 'pairs of gate and up');
  const out = createTensor(x.graph, up ? x.shape : [...x.shape.slice(0, -1), cols / 2]);
  record(x.graph, {
    kind: 'gate',
    scope: x.graph.scope,
    inputs: up ? { x, up } : { x },
    weights: {},
    attrs: { activation },
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

/** The last row of each sequence: [rows, cols] -> [sequences, cols]. */
export function lastRow(x: Tensor, sequences: number): Tensor {
  const out = createTensor(x.graph, [sequences, rowSize(x)]);
  record(x.graph, {
    kind: 'lastRow',
    scope: x.graph.scope,
    inputs: { x, batch: batchTensor(x.graph) },
    weights: {},
    attrs: {},
    outputs: { out },
  });
  return out;
}
