/**
 * @file DeepSeek-V3, R1 and V3.1: multi-head latent attention, a few dense layers, then routed experts in groups beside shared
 * ones; and the module that predicts the token after next (MTP). Formulas: DeepSeek-V3 inference/model.py; the order in
 * which MTP joins its two inputs: vLLM deepseek_mtp.py.
 */
import { UnsupportedConfigError } from '../errors.ts';
import { type Activation, HIDDEN_ACTS } from '../graph/activation.ts';
import { createTensor, type Tensor, viewColumns } from '../graph/graph.ts';
import { attend } from '../graph/ops/attention.ts';
import { lastRow } from '../graph/ops/elementwise.ts';
import { embed } from '../graph/ops/embed.ts';
import { route } from '../graph/ops/experts.ts';
import { type RopePairing, splitHeads } from '../graph/ops/heads.ts';
import { headLinear, prepareLatent } from '../graph/ops/latent.ts';
import { linear } from '../graph/ops/linear.ts';
import { rmsNorm } from '../graph/ops/norm.ts';
import { readRope, yarnMscale } from '../graph/rope.ts';
import type { Weights } from '../graph/weight.ts';
import { type ConfigReader, configReader } from './config.ts';
import { type ExpertsConfig, expectVec4s, expertsConfig, routedExperts } from './experts.ts';
import { decoder, gatedMlp, norm, preNormLayer } from './layers.ts';
import { defineModel, type ModelConfig, named, type Recording } from './model.ts';

/** Keys as in config.json, camelCased; `numExperts` is n_routed_experts. */
interface DeepseekV3Config extends ModelConfig, ExpertsConfig {
  readonly numAttentionHeads: number;
  readonly intermediateSize: number;
  readonly hiddenAct: Activation;
  readonly rmsNormEps: number;
  readonly tieWordEmbeddings: boolean;
  readonly numNextnPredictLayers: number;
  /** Undefined: q comes from the hidden state in one projection. */
  readonly qLoraRank: number | undefined;
  readonly kvLoraRank: number;
  readonly qkNopeHeadDim: number;
  readonly qkRopeHeadDim: number;
  readonly vHeadDim: number;
  readonly pairing: RopePairing;
  /** What scores are multiplied with, YaRN's part included. */
  readonly softmaxScale: number;
  readonly firstKDenseReplace: number;
  readonly moeLayerFreq: number;
  readonly nSharedExperts: number;
  readonly nGroup: number;
  readonly topkGroup: number;
  readonly routedScalingFactor: number;
}

export const deepseekV3 = defineModel<DeepseekV3Config>({
  architectures: ['DeepseekV3ForCausalLM'],
  config,
  forward: (w, cfg, into) => decoder(w, cfg, into, (x, wl, i) => layer(x, wl, cfg, into, i)),
  draft,
});

function config(json: Readonly<Record<string, unknown>>): DeepseekV3Config {
  const read = configReader(json);
  const count = (key: string): number => read.count(key);
  read.expect('attention_bias', false);
  read.expect('scoring_func', 'sigmoid');
  read.expect('topk_method', 'noaux_tc');
  // Heads have no key or value of their own, and their dims are the four below.
  for (const key of ['num_key_value_heads', 'head_dim', 'qk_head_dim']) read.raw(key);
  for (const key of ['rope_theta', 'rope_scaling', 'rope_parameters']) read.raw(key);
  const [qkNopeHeadDim, qkRopeHeadDim] = [count('qk_nope_head_dim'), count('qk_rope_head_dim')];
  const rope = readRope(json, qkRopeHeadDim, 'config.json');
  const mscale = rope.type === 'yarn' && rope.mscaleAllDim ? yarnMscale(rope.factor, rope.mscaleAllDim) : 1;
  const experts = expertsConfig(read, 'n_routed_experts');
  const result: DeepseekV3Config = {
    vocabSize: count('vocab_size'),
    hiddenSize: count('hidden_size'),
    numHiddenLayers: count('num_hidden_layers'),
    windows: [undefined],
    numAttentionHeads: count('num_attention_heads'),
    intermediateSize: count('intermediate_size'),
    hiddenAct: read.choice('hidden_act', HIDDEN_ACTS, 'silu'),
    maxPositionEmbeddings: count('max_position_embeddings'),
    rmsNormEps: read.number('rms_norm_eps'),
    tieWordEmbeddings: read.flag('tie_word_embeddings', false),
    numNextnPredictLayers: read.natural('num_nextn_predict_layers', 0),
    qLoraRank: read.raw('q_lora_rank') === undefined ? undefined : count('q_lora_rank'),
    kvLoraRank: count('kv_lora_rank'),
    qkNopeHeadDim,
    qkRopeHeadDim,
    vHeadDim: count('v_head_dim'),
    pairing: read.flag('rope_interleave', true) ? 'interleaved' : 'half',
    softmaxScale: (qkNopeHeadDim + qkRopeHeadDim) ** -0.5 * mscale ** 2,
    firstKDenseReplace: read.natural('first_k_dense_replace', 0),
    moeLayerFreq: read.count('moe_layer_freq', 1),
    nSharedExperts: read.natural('n_shared_experts', 0),
    ...experts,
    ...groups(read, experts),
    rope,
  };
  for (const [key, value] of [
    ['kv_lora_rank', result.kvLoraRank],
    ['q_lora_rank', result.qLoraRank ?? 0],
    ['qk_nope_head_dim', qkNopeHeadDim],
    ['qk_rope_head_dim', qkRopeHeadDim],
    ['v_head_dim', result.vHeadDim],
  ] as const) {
    expectVec4s(key, value);
  }
  read.finish();
  return result;
}

function groups(
  read: ConfigReader,
  { numExperts, numExpertsPerTok }: ExpertsConfig,
): Pick<DeepseekV3Config, 'nGroup' | 'topkGroup' | 'routedScalingFactor'> {
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

function layer(x: Tensor, w: Weights, cfg: DeepseekV3Config, into: Recording, i: number): Tensor {
  const isDense = i < cfg.firstKDenseReplace || i % cfg.moeLayerFreq !== 0;
  return preNormLayer(
    x,
    w,
    cfg,
    (h, wa) => attention(h, wa, cfg, into, i),
    (h, wm) => (isDense ? [gatedMlp(h, wm, cfg)] : sparseMlp(h, wm, cfg)),
  );
}

/** Attention over the latent cache: kv_b_proj's key part is absorbed into q, its value part comes after the attention. */
function attention(x: Tensor, w: Weights, cfg: DeepseekV3Config, into: Recording, i: number): Tensor {
  const {
    numAttentionHeads: heads,
    kvLoraRank: rank,
    qkNopeHeadDim: nope,
    qkRopeHeadDim,
    vHeadDim,
    hiddenSize,
  } = cfg;
  const { q, latent } = projections(x, w, cfg);
  const up = w.matrix(['kv_b_proj'], [heads * (nope + vHeadDim)], rank, { unitRows: nope + vHeadDim });
  const prepared = prepareLatent(
    { q: splitHeads(q, [heads], nope + qkRopeHeadDim)[0]!, latent, angles: into.angles },
    { norm: w.vector(['kv_a_layernorm.weight'], [rank]), weight: up },
    { layer: i, format: into.kvFormat, eps: LORA_NORM_EPS, pairing: cfg.pairing },
  );
  const attended = attend(prepared.q, prepared.cache, cfg.softmaxScale);
  const values = headLinear(attended, up, nope, vHeadDim);
  return linear(values, w.matrix(['o_proj'], [hiddenSize], heads * vHeadDim));
}

/** The norms between the low-rank projections have an eps of their own, which no config names. */
const LORA_NORM_EPS = 1e-6;

/** q [rows, heads * (nope + rope)] and the latent with the shared rotary key [rows, rank + rope], from one projection as far as possible. */
function projections(x: Tensor, w: Weights, cfg: DeepseekV3Config): { q: Tensor; latent: Tensor } {
  const { qLoraRank, hiddenSize } = cfg;
  const latentSize = cfg.kvLoraRank + cfg.qkRopeHeadDim;
  const qSize = cfg.numAttentionHeads * (cfg.qkNopeHeadDim + cfg.qkRopeHeadDim);
  const [name, size] = qLoraRank === undefined ? ['q_proj', qSize] : ['q_a_proj', qLoraRank];
  const both = linear(x, w.matrix([name, 'kv_a_proj_with_mqa'], [size, latentSize], hiddenSize));
  const first = viewColumns(both, 0, [size]);
  const latent = viewColumns(both, size, [latentSize]);
  if (qLoraRank === undefined) return { q: first, latent };
  const normed = rmsNorm(first, w.vector(['q_a_layernorm.weight'], [qLoraRank]), LORA_NORM_EPS);
  return { q: linear(normed, w.matrix(['q_b_proj'], [qSize], qLoraRank)), latent };
}

/** The shared experts are one dense MLP beside the routed ones. */
function sparseMlp(x: Tensor, w: Weights, cfg: DeepseekV3Config): readonly Tensor[] {
  const { numExperts, nSharedExperts, hiddenSize, hiddenAct } = cfg;
  const logits = linear(x, w.matrix(['gate'], [numExperts], hiddenSize, { role: 'router' }));
  const routing = route(
    logits,
    {
      k: cfg.numExpertsPerTok,
      scoring: 'sigmoid',
      numGroups: cfg.nGroup,
      keptGroups: cfg.topkGroup,
      normalize: cfg.normTopkProb,
      scale: cfg.routedScalingFactor,
    },
    w.vector(['gate.e_score_correction_bias'], [numExperts]),
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
function draft(hidden: Tensor, w: Weights, cfg: DeepseekV3Config, into: Recording): Tensor {
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
