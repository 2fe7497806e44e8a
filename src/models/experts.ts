/** @file Mixture of experts as the families share it: what a config says of it, the router, the routed and the shared experts. */
import { UnsupportedConfigError } from '../errors.ts';
import type { Activation } from '../graph/activation.ts';
import { type Tensor, viewColumns } from '../graph/graph.ts';
import { gate, sigmoidGate } from '../graph/ops/elementwise.ts';
import {
  combineExperts,
  expertLinear,
  MAX_EXPERTS,
  MAX_EXPERTS_PER_TOKEN,
  type Routing,
  route,
} from '../graph/ops/experts.ts';
import { linear } from '../graph/ops/linear.ts';
import { unlessMixed, type Weights } from '../graph/weight.ts';
import type { ConfigReader } from './config.ts';
import { gatedMlp } from './layers.ts';

/** Keys as in config.json, camelCased; families that name them otherwise translate. */
export interface ExpertsConfig {
  readonly numExperts: number;
  readonly numExpertsPerTok: number;
  readonly moeIntermediateSize: number;
  readonly normTopkProb: boolean;
}

/** Reads the number of experts under the family's own key for it. */
export function expertsConfig(read: ConfigReader, numExpertsKey: string): ExpertsConfig {
  const numExperts = read.count(numExpertsKey);
  const numExpertsPerTok = read.count('num_experts_per_tok');
  const moeIntermediateSize = read.count('moe_intermediate_size');
  if (numExperts > MAX_EXPERTS || numExpertsPerTok > Math.min(numExperts, MAX_EXPERTS_PER_TOKEN)) {
    throw new UnsupportedConfigError(
      `config.json: num_experts_per_tok is ${numExpertsPerTok} and ${numExpertsKey} ${numExperts}, wanted at most ${MAX_EXPERTS_PER_TOKEN} of at most ${MAX_EXPERTS}, and no more than there are`,
    );
  }
  expectVec4s('moe_intermediate_size', moeIntermediateSize);
  return {
    numExperts,
    numExpertsPerTok,
    moeIntermediateSize,
    normTopkProb: read.flag('norm_topk_prob', false),
  };
}

/** Rows of experts are read as vec4. */
export function expectVec4s(key: string, value: number): void {
  if (value % 4 !== 0) {
    throw new UnsupportedConfigError(`config.json: ${key} is ${value}, wanted a multiple of 4`);
  }
}

/** Which layers of a Qwen model have experts; the others are dense with `intermediate_size`. */
export interface SparseLayers {
  readonly mlpOnlyLayers: readonly number[];
  readonly decoderSparseStep: number;
}

export const sparseLayers = (read: ConfigReader): SparseLayers => ({
  mlpOnlyLayers: read.list('mlp_only_layers'),
  decoderSparseStep: read.count('decoder_sparse_step', 1),
});

export const isSparse = ({ mlpOnlyLayers, decoderSparseStep }: SparseLayers, layer: number): boolean =>
  !mlpOnlyLayers.includes(layer) && (layer + 1) % decoderSparseStep === 0;

/** Qwen's router: softmax over all experts, then the best of them. */
export function routeSoftmax(logits: Tensor, cfg: ExpertsConfig): Routing {
  return route(logits, {
    k: cfg.numExpertsPerTok,
    scoring: 'softmax',
    numGroups: 1,
    keptGroups: 1,
    groupBest: 1,
    normalize: cfg.normTopkProb,
    scale: 1,
  });
}

/** The weighted sum of each row's experts: scale * down(activate(gate(x)) * up(x)). */
export function routedExperts(
  x: Tensor,
  w: Weights,
  cfg: { hiddenSize: number; hiddenAct: Activation } & ExpertsConfig,
  routing: Routing,
): Tensor {
  const { numExperts, moeIntermediateSize: width, hiddenSize } = cfg;
  const gateUp = unlessMixed(() =>
    w.experts(numExperts, ['gate_proj', 'up_proj'], [width, width], hiddenSize, 'interleaved'),
  );
  const apart = (name: string): Tensor =>
    expertLinear(x, w.experts(numExperts, [name], [width], hiddenSize), routing);
  const hidden = gateUp
    ? gate(expertLinear(x, gateUp, routing), cfg.hiddenAct)
    : gate(apart('gate_proj'), cfg.hiddenAct, apart('up_proj'));
  const down = w.experts(numExperts, ['down_proj'], [hiddenSize], width);
  return combineExperts(expertLinear(hidden, down, routing), routing);
}

/** Qwen3's sparse MLP. */
export function sparseMlp(
  x: Tensor,
  w: Weights,
  cfg: { hiddenSize: number; hiddenAct: Activation } & ExpertsConfig,
): readonly Tensor[] {
  const logits = linear(x, w.matrix(['gate'], [cfg.numExperts], cfg.hiddenSize, { role: 'router' }));
  return [routedExperts(x, w, cfg, routeSoftmax(logits, cfg))];
}

/** Qwen2's sparse MLP: besides the routed experts one that every row takes, as much of it as a gate of its own says. */
export function sparseMlpWithSharedExpert(
  x: Tensor,
  w: Weights,
  cfg: { hiddenSize: number; hiddenAct: Activation; sharedExpertIntermediateSize: number } & ExpertsConfig,
): readonly Tensor[] {
  const { numExperts, hiddenSize, hiddenAct, sharedExpertIntermediateSize: intermediateSize } = cfg;
  // One projection for the router and the shared expert's gate.
  const logits = linear(
    x,
    w.matrix(['gate', 'shared_expert_gate'], [numExperts, 1], hiddenSize, { role: 'router' }),
  );
  const share = viewColumns(logits, numExperts, [1]);
  const routing = routeSoftmax(viewColumns(logits, 0, [numExperts]), cfg);
  const shared = w
    .at('shared_expert')
    .run((ws) =>
      gatedMlp(x, ws, { hiddenSize, intermediateSize, hiddenAct }, (hidden) => sigmoidGate(hidden, share)),
    );
  return [shared, routedExperts(x, w, cfg, routing)];
}
