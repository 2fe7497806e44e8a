/** @file What a model costs, from its plans alone: dispatches and bytes, without a GPU and without weights. */

import { matrixOf, splitRows } from '../gpu/kernel.ts';
import { baseOf, type Op, tensorBytes, type WeightResolver } from '../graph/graph.ts';
import type { Plan } from '../graph/plan.ts';
import { activeWeightBytes } from '../graph/plan.ts';
import { familyOf } from '../models/index.ts';
import { executorBytes } from './executor.ts';
import { type RecordOptions, recordStep } from './recording.ts';

export interface Estimate {
  dispatchesPerToken: number;
  /** The largest count of any layer. */
  dispatchesPerLayer: number;
  dispatchesOutsideLayers: number;
  weightBytes: number;
  /** Bytes of weights that one decoded token reads. */
  activeWeightBytesPerToken: number;
  kvBytesPerToken: number;
  activationBytes: number;
}

export interface EstimateOptions extends Omit<RecordOptions, 'rows'> {
  prefillRows: number;
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
  const decode = recordStep(spec, { ...options, rows: 1 });
  const prefill = recordStep(spec, { ...options, rows: options.prefillRows });
  const dispatches = (op: Op): number => {
    const matrix = matrixOf(op);
    return matrix ? splitRows(matrix, options.maxBindingBytes).length : 1;
  };
  const perLayer = new Map<string, number>();
  let outside = 0;
  for (const op of decode.graph.ops) {
    const layer = op.scope.match(/^.*?layers\.\d+/)?.[0];
    if (layer === undefined) outside += dispatches(op);
    else perLayer.set(layer, (perLayer.get(layer) ?? 0) + dispatches(op));
  }
  const inLayers = [...perLayer.values()];
  const caches = decode.sessionTensors.filter((t) => t.name.startsWith('kv.')).map(baseOf);
  return {
    decode,
    prefill,
    estimate: {
      dispatchesPerToken: outside + inLayers.reduce((a, b) => a + b, 0),
      dispatchesPerLayer: Math.max(0, ...inLayers),
      dispatchesOutsideLayers: outside,
      weightBytes: decode.weightBytes,
      activeWeightBytesPerToken: Math.round(
        decode.graph.ops.reduce((sum, op) => sum + activeWeightBytes(op), 0),
      ),
      kvBytesPerToken: caches.reduce((sum, t) => sum + tensorBytes(t) / t.shape[0]!, 0),
      activationBytes: executorBytes([decode, prefill]).activationBytes,
    },
  };
}
