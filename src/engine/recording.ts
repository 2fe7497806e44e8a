/**
 * @file Which programs a model runs as, recorded and planned without a GPU: decode (one row, sampled), prefill (many rows)
 * and inspection (tensors kept for the host). Knows families and graphs; it must not know kernels or buffers.
 */
import { InvalidInputError } from '../errors.ts';
import { fuse } from '../graph/fuse.ts';
import { createGraph, sessionTensor, type Tensor, type WeightResolver, Weights } from '../graph/graph.ts';
import { sample } from '../graph/ops.ts';
import { type Plan, planGraph } from '../graph/plan.ts';
import type { ModelConfig, ModelFamily } from '../models/model.ts';

export interface RecordOptions {
  /** Rows of a step. */
  rows: number;
  /** Positions of the KV cache. */
  capacity: number;
  kvDtype: 'f16' | 'f32';
  fuse?: boolean;
  reuse?: boolean;
}

export interface ModelSpec {
  readonly family: ModelFamily;
  readonly config: ModelConfig;
  readonly resolve: WeightResolver;
}

/** Session tensors that the host writes before a step. */
export const TOKENS = 'tokens';
export const ANGLES = 'angles';

/** A step that ends in a sampled token. With one row it reads the token that the step before has chosen, else `tokens`. */
export function recordStep(spec: ModelSpec, options: RecordOptions): Plan {
  const { graph, logits } = recordForward(spec, options, 'last', options.rows === 1 ? 'token' : TOKENS);
  graph.scope = 'sample';
  sample(logits);
  if (options.fuse !== false) fuse(graph);
  return planGraph(graph, options);
}

export interface InspectionPlan {
  readonly plan: Plan;
  readonly kept: ReadonlyMap<string, Tensor>;
}

/** A step that keeps the tensors named `names` (logits of every row are `lm_head`) and samples nothing. */
export function recordInspection(
  spec: ModelSpec,
  options: RecordOptions,
  names: readonly string[],
): InspectionPlan {
  const { graph } = recordForward(spec, options, 'all', TOKENS);
  const kept = new Map<string, Tensor>();
  for (const name of names) {
    // Several ops may share a module's name; its output is the last of them.
    const tensor = graph.tensors.findLast((t) => t.name === name && t.lifetime === 'step' && !t.base);
    if (!tensor) {
      const known = [...new Set(graph.tensors.filter((t) => t.lifetime === 'step').map((t) => t.name))];
      throw new InvalidInputError(
        `no tensor is named ${name}; there are ${known.slice(0, 24).join(', ')} ...`,
      );
    }
    kept.set(name, tensor);
  }
  const keep = [...kept.values()];
  if (options.fuse !== false) fuse(graph, keep);
  return { plan: planGraph(graph, { ...options, keep }), kept };
}

function recordForward(
  { family, config, resolve }: ModelSpec,
  options: RecordOptions,
  logits: 'last' | 'all',
  tokens: string,
) {
  const graph = createGraph(resolve);
  const { rows, capacity, kvDtype } = options;
  const ids = sessionTensor(graph, tokens, [rows], 'u32');
  const angles = sessionTensor(graph, ANGLES, [rows, config.rope.dim], 'f32');
  const run = { capacity, kvDtype, logits, angles };
  return { graph, logits: family.forward(ids, new Weights(graph), config, run) };
}
