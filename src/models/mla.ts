/**
 * @file Multi-head latent attention (MLA) as DeepSeek's families share it: what a config says of it, and its layers. Formulas:
 * DeepSeek-V3 inference/model.py.
 */
import { type Tensor, viewColumns } from '../graph/graph.ts';
import { attend } from '../graph/ops/attention.ts';
import { type RopePairing, splitHeads } from '../graph/ops/heads.ts';
import { headLinear, prepareLatent } from '../graph/ops/latent.ts';
import { linear, stackedLinear } from '../graph/ops/linear.ts';
import { rmsNorm } from '../graph/ops/norm.ts';
import { type RopeScaling, readRope, yarnMscale } from '../graph/rope.ts';
import type { Weights } from '../graph/weight.ts';
import type { ConfigReader } from './config.ts';
import { expectVec4s } from './experts.ts';
import type { Recording } from './model.ts';

/** Keys as in config.json, camelCased. */
export interface LatentConfig {
  readonly hiddenSize: number;
  readonly numAttentionHeads: number;
  /** Undefined: q comes from the hidden state in one projection. */
  readonly qLoraRank: number | undefined;
  readonly kvLoraRank: number;
  readonly qkNopeHeadDim: number;
  readonly qkRopeHeadDim: number;
  readonly vHeadDim: number;
  readonly pairing: RopePairing;
  /** What scores are multiplied with, YaRN's part included. */
  readonly softmaxScale: number;
  readonly rope: RopeScaling;
}

export function latentConfig(read: ConfigReader, json: Readonly<Record<string, unknown>>): LatentConfig {
  read.expect('attention_bias', false);
  // Heads have no key or value of their own, and their dims are the four below.
  for (const key of ['num_key_value_heads', 'head_dim', 'qk_head_dim']) read.raw(key);
  for (const key of ['rope_theta', 'rope_scaling', 'rope_parameters']) read.raw(key);
  const dim = (key: string): number => {
    const value = read.count(key);
    expectVec4s(key, value);
    return value;
  };
  const [qkNopeHeadDim, qkRopeHeadDim] = [dim('qk_nope_head_dim'), dim('qk_rope_head_dim')];
  const rope = readRope(json, qkRopeHeadDim, 'config.json');
  const mscale = rope.type === 'yarn' && rope.mscaleAllDim ? yarnMscale(rope.factor, rope.mscaleAllDim) : 1;
  return {
    hiddenSize: read.count('hidden_size'),
    numAttentionHeads: read.count('num_attention_heads'),
    qLoraRank: read.raw('q_lora_rank') === undefined ? undefined : dim('q_lora_rank'),
    kvLoraRank: dim('kv_lora_rank'),
    qkNopeHeadDim,
    qkRopeHeadDim,
    vHeadDim: dim('v_head_dim'),
    pairing: read.flag('rope_interleave', true) ? 'interleaved' : 'half',
    softmaxScale: (qkNopeHeadDim + qkRopeHeadDim) ** -0.5 * mscale ** 2,
    rope,
  };
}

/**
 * Attention over the latent cache: kv_b_proj's key part is absorbed into q, its value part comes after the attention. Some files have
 * both parts apart, the first transposed: `embed_q` and `unembed_out` (MLX, GGUF).
 */
export function latentAttention(
  x: Tensor,
  w: Weights,
  cfg: LatentConfig,
  into: Recording,
  layer: number,
): Tensor {
  const {
    numAttentionHeads: heads,
    kvLoraRank: rank,
    qkNopeHeadDim: nope,
    qkRopeHeadDim,
    vHeadDim,
    hiddenSize,
  } = cfg;
  const { q, latent } = projections(x, w, cfg);
  const isApart = w.has('embed_q') && w.has('unembed_out');
  const keys = isApart ? w.matrix(['embed_q'], [heads * rank], nope, { unitRows: rank }) : undefined;
  const up = isApart
    ? w.matrix(['unembed_out'], [heads * vHeadDim], rank, { unitRows: vHeadDim })
    : w.matrix(['kv_b_proj'], [heads * (nope + vHeadDim)], rank, { unitRows: nope + vHeadDim });
  const prepared = prepareLatent(
    { q: splitHeads(q, [heads], nope + qkRopeHeadDim)[0]!, latent, angles: into.angles },
    { norm: w.vector(['kv_a_layernorm.weight'], [rank]), ...(keys ? { keys } : { weight: up }) },
    { layer, format: into.kvFormat, eps: LORA_NORM_EPS, pairing: cfg.pairing },
  );
  const attended = attend(prepared.q, prepared.cache, cfg.softmaxScale);
  const values = headLinear(attended, up, isApart ? 0 : nope, vHeadDim);
  return linear(values, w.matrix(['o_proj'], [hiddenSize], heads * vHeadDim));
}

/** The norms between the low-rank projections have an eps of their own, which no config names. */
const LORA_NORM_EPS = 1e-6;

/** q [rows, heads * (nope + rope)] and the latent with the shared rotary key [rows, rank + rope], from one projection as far as possible. */
function projections(x: Tensor, w: Weights, cfg: LatentConfig): { q: Tensor; latent: Tensor } {
  const { qLoraRank } = cfg;
  const latentSize = cfg.kvLoraRank + cfg.qkRopeHeadDim;
  const qSize = cfg.numAttentionHeads * (cfg.qkNopeHeadDim + cfg.qkRopeHeadDim);
  const [name, size] = qLoraRank === undefined ? ['q_proj', qSize] : ['q_a_proj', qLoraRank];
  const both = stackedLinear(x, w, [name, 'kv_a_proj_with_mqa'], [size, latentSize]);
  const first = viewColumns(both, 0, [size]);
  const latent = viewColumns(both, size, [latentSize]);
  if (qLoraRank === undefined) return { q: first, latent };
  const normed = rmsNorm(first, w.vector(['q_a_layernorm.weight'], [qLoraRank]), LORA_NORM_EPS);
  return { q: linear(normed, w.matrix(['q_b_proj'], [qSize], qLoraRank)), latent };
}
