/** @file What a model costs, from its plans alone: dispatches and bytes, without a GPU and without weights. */

import { matrixOf, splitRows } from '../../gpu/kernel.ts';
import { type Op, tensorBytes } from '../../graph/graph.ts';
import { activeWeightBytes, type Plan, weightBytes } from '../../graph/plan.ts';
import type { WeightResolver } from '../../graph/weight.ts';
import { familyOf } from '../../models/index.ts';
import { executorBytes, kvTensors } from '../program/executor.ts';
import { type PlanOptions, recordPlan } from '../program/plans.ts';

export interface Estimate {
  dispatchesPerToken: number;
  /** The largest count of any layer. */
  dispatchesPerLayer: number;
  /** The largest count of any layer's attention, and of any layer's MLP or experts. */
  dispatchesPerAttention: number;
  dispatchesPerMlp: number;
  dispatchesOutsideLayers: number;
  weightBytes: number;
  /** By name of the format. */
  weightBytesByFormat: Record<string, number>;
  /** Bytes of weights that one decoded token reads. */
  activeWeightBytesPerToken: number;
  kvBytesPerToken: number;
  /** The most that activations take at a time, of decoding and of a prefill step. */
  activationBytes: number;
}

export interface EstimateOptions extends Omit<PlanOptions, 'maxSequences'> {
  /** Bytes that one binding may hold: larger weights take a dispatch for each part. */
  maxBindingBytes: number;
}

/** Records and plans the programs of a config. */
export function estimate(
  json: Readonly<Record<string, unknown>>,
  resolve: WeightResolver,
  options: EstimateOptions,
): { estimate: Estimate; decode: Plan; prefill: Plan } {
  const family = familyOf(json);
  const spec = { family, config: family.config(json), resolve };
  const planOptions = { ...options, maxSequences: 1 };
  const decode = recordPlan(spec, planOptions, 'rows1');
  const prefill = recordPlan(spec, planOptions, 'prefill');
  const dispatches = (op: Op): number => {
    const matrix = matrixOf(op);
    return matrix ? splitRows(matrix, options.maxBindingBytes).length : 1;
  };
  /** Dispatches by what the expression finds in the scope of an op. */
  const countBy = (scope: RegExp): number[] => {
    const counts = new Map<string, number>();
    for (const op of decode.graph.ops) {
      const found = op.scope.match(scope)?.[0];
      if (found) counts.set(found, (counts.get(found) ?? 0) + dispatches(op));
    }
    return [...counts.values()];
  };
  const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
  const layers = countBy(/^.*?layers\.\d+/);
  const dispatchesPerToken = sum(decode.graph.ops.map(dispatches));
  const weightBytesByFormat: Record<string, number> = {};
  for (const weight of decode.graph.weights.values()) {
    const { name } = weight.format;
    weightBytesByFormat[name] = (weightBytesByFormat[name] ?? 0) + weightBytes(weight);
  }
  const caches = kvTensors([decode]);
  return {
    decode,
    prefill,
    estimate: {
      dispatchesPerToken,
      dispatchesPerLayer: Math.max(0, ...layers),
      dispatchesPerAttention: Math.max(0, ...countBy(/^.*?layers\.\d+\.self_attn/)),
      dispatchesPerMlp: Math.max(0, ...countBy(/^.*?layers\.\d+\.mlp/)),
      dispatchesOutsideLayers: dispatchesPerToken - sum(layers),
      weightBytes: decode.weightBytes,
      weightBytesByFormat,
      activeWeightBytesPerToken: activeWeightBytes(decode),
      kvBytesPerToken: sum(caches.map((t) => tensorBytes(t) / t.shape[0]!)),
      activationBytes: executorBytes([decode, prefill], () => 1).activationBytes,
    },
  };
}

/** Tokens of context for which a model fits into so many bytes; undefined when its weights alone do not. */
export function contextThatFits(
  { weightBytes, activationBytes, kvBytesPerToken }: Estimate,
  memoryBytes: number,
): number | undefined {
  const room = memoryBytes - weightBytes - activationBytes;
  return room < kvBytesPerToken ? undefined : Math.floor(room / kvBytesPerToken);
}
