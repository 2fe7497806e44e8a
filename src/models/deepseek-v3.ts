/**
 * @file DeepSeek-V3, R1 and V3.1, and what is built like them (Kimi-K2, Moonlight): multi-head latent attention, a few dense layers, then
 * routed experts in groups beside shared ones; and the module that predicts the token after next (MTP). Formulas: DeepSeek-V3
 * inference/model.py; the order in which MTP joins its two inputs: vLLM deepseek_mtp.py.
 */
import { UnsupportedConfigError } from '../errors.ts';
import { type Activation, HIDDEN_ACTS } from '../graph/activation.ts';
import { createTensor, type Tensor, viewColumns } from '../graph/graph.ts';
import { lastRow } from '../graph/ops/elementwise.ts';
import { embed } from '../graph/ops/embed.ts';
import { type RouteOp, route } from '../graph/ops/experts.ts';
import { linear } from '../graph/ops/linear.ts';
import type { Weights } from '../graph/weight.ts';
import { type ConfigReader, configReader, numLayersOf } from './config.ts';
import { type ExpertsConfig, expertsConfig, routedExperts } from './experts.ts';
import { decoder, gatedMlp, norm, preNormLayer } from './layers.ts';
import { type LatentConfig, latentAttention, latentConfig } from './mla.ts';
import { defineModel, type ModelConfig, named, type Recording } from './model.ts';

/** Keys as in config.json, camelCased; `numExperts` is n_routed_experts. */
export interface DeepseekConfig extends ModelConfig, ExpertsConfig, LatentConfig {
  readonly intermediateSize: number;
  readonly hiddenAct: Activation;
  readonly rmsNormEps: number;
  readonly tieWordEmbeddings: boolean;
  readonly numNextnPredictLayers: number;
  readonly firstKDenseReplace: number;
  readonly moeLayerFreq: number;
  readonly nSharedExperts: number;
  readonly nGroup: number;
  readonly topkGroup: number;
  readonly routedScalingFactor: number;
  readonly scoring: RouteOp['attrs']['scoring'];
  readonly groupBest: RouteOp['attrs']['groupBest'];
  /** Experts are chosen by their scores and a bias. */
  readonly hasRouterBias: boolean;
}

export const deepseekV3 = defineModel<DeepseekConfig>({
  architectures: ['DeepseekV3ForCausalLM'],
  modelType: 'deepseek_v3',
  config: (json) =>
    deepseekConfig(json, (read) => {
      read.expect('scoring_func', 'sigmoid');
      read.expect('topk_method', 'noaux_tc');
      return { scoring: 'sigmoid', groupBest: 2, hasRouterBias: true };
    }),
  forward: forwardDeepseek,
  draft,
});

export function forwardDeepseek(w: Weights, cfg: DeepseekConfig, into: Recording): Tensor {
  return decoder(w, cfg, into, (x, wl, i) => layer(x, wl, cfg, into, i));
}

/** Reads what V2 and V3 have. `router`: how the family chooses experts. */
export function deepseekConfig(
  json: Readonly<Record<string, unknown>>,
  router: (read: ConfigReader) => Pick<DeepseekConfig, 'scoring' | 'groupBest' | 'hasRouterBias'>,
): DeepseekConfig {
  const read = configReader(json);
  const experts = expertsConfig(read, 'n_routed_experts');
  const config: DeepseekConfig = {
    ...latentConfig(read, json),
    ...experts,
    ...groups(read, experts),
    ...router(read),
    vocabSize: read.count('vocab_size'),
    numHiddenLayers: numLayersOf(read),
    windows: [undefined],
    intermediateSize: read.count('intermediate_size'),
    hiddenAct: read.choice('hidden_act', HIDDEN_ACTS, 'silu'),
    maxPositionEmbeddings: read.count('max_position_embeddings'),
    rmsNormEps: read.number('rms_norm_eps'),
    tieWordEmbeddings: read.flag('tie_word_embeddings', false),
    numNextnPredictLayers: read.natural('num_nextn_predict_layers', 0),
    firstKDenseReplace: read.natural('first_k_dense_replace', 0),
    moeLayerFreq: read.count('moe_layer_freq', 1),
    nSharedExperts: read.natural('n_shared_experts', 0),
  };
  read.finish();
  return config;
}

function groups(
  read: ConfigReader,
  { numExperts, numExpertsPerTok }: ExpertsConfig,
): Pick<DeepseekConfig, 'nGroup' | 'topkGroup' | 'routedScalingFactor'> {
  const [nGroup, topkGroup] = [read.count('n_group', 1), read.count('topk_group', 1)];
  const perGroup = numExperts / nGroup;
  const isEven = Number.isInteger(perGroup) && (nGroup === 1 || perGroup >= 2);
  if (!isEven || topkGroup > nGroup || numExpertsPerTok > topkGroup * perGroup) {
    throw new UnsupportedConfigError(
      `config.json: n_group is ${nGroup}, topk_group ${topkGroup}, n_routed_experts ${numExperts}, num_experts_per_tok ${numExpertsPerTok}: ` +
        'wanted groups of equal size from 2 on, no more kept than there are, and enough experts in those kept',
    );
  }
  return { nGroup, topkGroup, routedScalingFactor: read.number('routed_scaling_factor', 1) };
}

function layer(x: Tensor, w: Weights, cfg: DeepseekConfig, into: Recording, i: number): Tensor {
  const isDense = i < cfg.firstKDenseReplace || i % cfg.moeLayerFreq !== 0;
  return preNormLayer(
    x,
    w,
    cfg,
    (h, wa) => latentAttention(h, wa, cfg, into, i),
    (h, wm) => (isDense ? [gatedMlp(h, wm, cfg)] : sparseMlp(h, wm, cfg)),
  );
}

/** The shared experts are one dense MLP beside the routed ones. */
function sparseMlp(x: Tensor, w: Weights, cfg: DeepseekConfig): readonly Tensor[] {
  const { numExperts, nSharedExperts, hiddenSize, hiddenAct } = cfg;
  const logits = linear(x, w.matrix(['gate'], [numExperts], hiddenSize, { role: 'router' }));
  const routing = route(
    logits,
    {
      k: cfg.numExpertsPerTok,
      scoring: cfg.scoring,
      numGroups: cfg.nGroup,
      keptGroups: cfg.topkGroup,
      groupBest: cfg.groupBest,
      normalize: cfg.normTopkProb,
      scale: cfg.routedScalingFactor,
    },
    cfg.hasRouterBias ? w.vector(['gate.e_score_correction_bias'], [numExperts]) : undefined,
  );
  const routed = routedExperts(x, w, cfg, routing);
  if (nSharedExperts === 0) return [routed];
  const intermediateSize = cfg.moeIntermediateSize * nSharedExperts;
  const shared = w
    .at('shared_experts')
    .run((ws) => gatedMlp(x, ws, { hiddenSize, intermediateSize, hiddenAct }));
  return [shared, routed];
}

/**
 * MTP: eh_proj([enorm(embedding of the next token) | hnorm(hidden)]), one layer like the others, a norm and the head. The
 * module's embedding and head are copies of the model's own, which serve instead.
 */
function draft(hidden: Tensor, w: Weights, cfg: DeepseekConfig, into: Recording): Tensor {
  const { hiddenSize, vocabSize, numHiddenLayers } = cfg;
  const model = w.at('model');
  const embedding = model.matrix(['embed_tokens'], [vocabSize], hiddenSize, { role: 'embedding' });
  const wm = model.at('layers', numHiddenLayers);
  const x = wm.run(() => {
    const both = createTensor(into.graph, [into.rows, 2 * hiddenSize], {
      name: `${wm.path}.inputs`,
    });
    norm(embed(into.graph, into.rows, embedding), wm, 'enorm', cfg, viewColumns(both, 0, [hiddenSize]));
    norm(hidden, wm, 'hnorm', cfg, viewColumns(both, hiddenSize, [hiddenSize]));
    const joined = linear(both, wm.matrix(['eh_proj'], [hiddenSize], 2 * hiddenSize, { role: 'mtp' }));
    return named(layer(joined, wm, cfg, into, numHiddenLayers), wm.path);
  });
  return wm.at('shared_head').run((wh) => {
    const last = into.logits === 'last' && into.rows > 1 ? lastRow(x, into.sequences) : x;
    const head = cfg.tieWordEmbeddings
      ? embedding
      : w.matrix(['lm_head'], [vocabSize], hiddenSize, { role: 'head' });
    return named(linear(norm(last, wh, 'norm', cfg), head), `${wh.path}.head`);
  });
}
