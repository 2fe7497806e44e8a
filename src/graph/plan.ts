/**
 * @file Liveness planning: every step tensor gets a whole-buffer slot that later tensors reuse, and the report of what a
 * program costs. Whole buffers, because one GPUBuffer bound as read and read_write in a dispatch is a validation error
 * even on disjoint ranges. Pure arithmetic on the graph; knows no GPU.
 */

import type { Graph } from './graph.ts';
import {
  baseOf,
  type Op,
  opInputs,
  opOutputs,
  opWeights,
  rowSize,
  type Tensor,
  tensorBytes,
} from './graph.ts';
import type { Weight } from './weight.ts';

export interface Slot {
  bytes: number;
  /** Names of the tensors that live in it, in order, for the printed plan. */
  readonly tensors: Tensor[];
}

export interface Plan {
  readonly graph: Graph;
  readonly slots: readonly Slot[];
  /** Base step tensors -> index of their slot. */
  readonly slotOf: ReadonlyMap<Tensor, number>;
  readonly sessionTensors: readonly Tensor[];
  /** Names of those that the host writes before every pass. */
  readonly inputs: readonly string[];
  readonly activationBytes: number;
  readonly sessionBytes: number;
  readonly weightBytes: number;
}

export interface PlanOptions {
  /** Off: every tensor has a slot of its own, to tell planner mistakes from kernel mistakes. */
  reuse?: boolean;
  /** Tensors that the host reads after the step: their slots are not reused. */
  keep?: readonly Tensor[];
}

/** Assigns slots in recorded order: an op's outputs are placed before its inputs are freed, so no op writes what it reads. */
export function planGraph(graph: Graph, { reuse = true, keep = [] }: PlanOptions = {}): Plan {
  const lastUse = new Map<Tensor, number>();
  const session = new Set<Tensor>();
  graph.ops.forEach((op, index) => {
    for (const t of [...opInputs(op), ...opOutputs(op)].map(baseOf)) {
      if (t.lifetime === 'session') session.add(t);
      else lastUse.set(t, index);
    }
  });
  for (const t of keep) lastUse.set(baseOf(t), graph.ops.length);

  const slots: Slot[] = [];
  const free: number[] = [];
  const slotOf = new Map<Tensor, number>();
  graph.ops.forEach((op, index) => {
    for (const t of [...opInputs(op), ...opOutputs(op)].map(baseOf)) {
      if (t.lifetime === 'step' && !slotOf.has(t)) slotOf.set(t, place(t, slots, free));
    }
    if (!reuse) return;
    for (const t of new Set([...opInputs(op), ...opOutputs(op)].map(baseOf))) {
      if (lastUse.get(t) === index) free.push(slotOf.get(t)!);
    }
  });

  const sum = (bytes: Iterable<number>): number => [...bytes].reduce((a, b) => a + b, 0);
  return {
    graph,
    slots,
    slotOf,
    sessionTensors: [...session],
    inputs: [...session].filter(({ role }) => role?.kind === 'input').map(({ name }) => name),
    activationBytes: sum(slots.map((s) => s.bytes)),
    sessionBytes: sum([...session].map(tensorBytes)),
    weightBytes: sum([...graph.weights.values()].map(weightBytes)),
  };
}

/** The free slot that must grow least, then the one that wastes least; a new one when none is free. */
function place(t: Tensor, slots: Slot[], free: number[]): number {
  const bytes = tensorBytes(t);
  const cost = (i: number): number => {
    const room = slots[i]!.bytes - bytes;
    return room >= 0 ? room / 2 ** 40 : -room;
  };
  const best = free.reduce<number | undefined>(
    (a, b) => (a === undefined || cost(b) < cost(a) ? b : a),
    undefined,
  );
  if (best === undefined) return slots.push({ bytes, tensors: [t] }) - 1;
  free.splice(free.indexOf(best), 1);
  const slot = slots[best]!;
  slot.bytes = Math.max(slot.bytes, bytes);
  slot.tensors.push(t);
  return best;
}

/** Bytes of a weight on the GPU. */
export function weightBytes(weight: Weight): number {
  return weight.format.sections.reduce((sum, s) => sum + s.rowBytes(weight.cols) * weight.rows, 0);
}

/** Bytes of weights that one row of a plan's ops reads: one row of an embedding, k experts of all, everything of the rest. */
export function activeWeightBytes({ graph }: Plan): number {
  const each = graph.ops.flatMap((op) => opWeights(op).map((w) => weightBytes(w) * activeShare(op, w)));
  return Math.round(each.reduce((sum, bytes) => sum + bytes, 0));
}

function activeShare(op: Op, weight: Weight): number {
  if (weight.isVector) return 1;
  if (op.kind === 'embed') return 1 / weight.rows;
  if (op.kind === 'headLinear') return (op.inputs.x.shape[1]! * op.attrs.numRows) / weight.rows;
  if (op.kind === 'prepareLatent') {
    // Of each head the rows that meet q before its rotated part; headLinear reads the rest.
    const [, numHeads, headDim] = op.inputs.q.shape as [number, number, number];
    const rotated = op.outputs.out.shape[2]! - weight.cols;
    return (numHeads * (headDim - rotated)) / weight.rows;
  }
  if (op.kind === 'expertLinear') return (rowSize(op.inputs.experts) * weight.unitRows) / weight.rows;
  return 1;
}
