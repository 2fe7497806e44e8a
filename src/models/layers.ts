/** @file What the families share: the dense decoder's config, its frame (embedding, layers, final norm, head) and its MLP. */
import { UnsupportedConfigError } from '../errors.ts';
import { type Activation, HIDDEN_ACTS } from '../graph/activation.ts';
import type { Tensor } from '../graph/graph.ts';
import { add, gate, lastRow } from '../graph/ops/elementwise.ts';
import { embed } from '../graph/ops/embed.ts';
import { linear } from '../graph/ops/linear.ts';
import { rmsNorm } from '../graph/ops/norm.ts';
import { readRope } from '../graph/rope.ts';
import type { Weight, Weights } from '../graph/weight.ts';
import { type ConfigReader, configReader } from './config.ts';
import { type ModelConfig, named, type Recording } from './model.ts';

/** Keys as in config.json, camelCased. */
export interface DecoderConfig extends ModelConfig {
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  readonly intermediateSize: number;
  readonly rmsNormEps: number;
  readonly tieWordEmbeddings: boolean;
  readonly attentionBias: boolean;
  readonly hiddenAct: Activation;
  /** Of each layer the positions that a row sees, its own included; undefined: all. */
  readonly layerWindows: readonly (number | undefined)[];
}

/** Reads what every GQA decoder has. The family reads its own keys first, through `own`. */
export function decoderConfig<Own extends object = object>(
  json: Readonly<Record<string, unknown>>,
  defaults: { attentionBias: boolean },
  own?: (read: ConfigReader) => Own,
): DecoderConfig & Own {
  const read = configReader(json);
  const more = own?.(read) ?? ({} as Own);
  const hiddenSize = read.count('hidden_size');
  const numAttentionHeads = read.count('num_attention_heads');
  const headDim = read.count('head_dim', hiddenSize / numAttentionHeads);
  const numKeyValueHeads = read.count('num_key_value_heads', numAttentionHeads);
  if (numAttentionHeads % numKeyValueHeads !== 0) {
    throw new UnsupportedConfigError(
      `config.json: num_attention_heads ${numAttentionHeads} is not a multiple of num_key_value_heads ${numKeyValueHeads}`,
    );
  }
  if (headDim % 4 !== 0) {
    throw new UnsupportedConfigError(`config.json: head_dim is ${headDim}, wanted a multiple of 4`);
  }
  read.expect('mlp_bias', false);
  for (const key of ['rope_theta', 'rope_scaling', 'rope_parameters', 'partial_rotary_factor']) read.raw(key);
  const maxPositionEmbeddings = read.count('max_position_embeddings');
  const numHiddenLayers = read.count('num_hidden_layers');
  const layerWindows = readWindows(read, numHiddenLayers);
  const config: DecoderConfig = {
    vocabSize: read.count('vocab_size'),
    hiddenSize,
    numHiddenLayers,
    layerWindows,
    windows: [...new Set([undefined, ...layerWindows])],
    numAttentionHeads,
    numKeyValueHeads,
    headDim,
    intermediateSize: read.count('intermediate_size'),
    rmsNormEps: read.number('rms_norm_eps'),
    tieWordEmbeddings: read.flag('tie_word_embeddings', false),
    hiddenAct: read.choice('hidden_act', HIDDEN_ACTS, 'silu'),
    attentionBias: read.flag('attention_bias', defaults.attentionBias),
    maxPositionEmbeddings,
    rope: readRope(json, headDim, 'config.json'),
  };
  read.finish();
  return { ...config, ...more };
}

/**
 * Which layers see a window: as `layer_types` says, else with `use_sliding_window` those from `max_window_layers` on, as Qwen2 means
 * it. Without either no layer does, whatever `sliding_window` says.
 */
function readWindows(read: ConfigReader, numLayers: number): (number | undefined)[] {
  const uses = read.flag('use_sliding_window', false);
  const layerTypes = read.raw('layer_types');
  const from = read.natural('max_window_layers', numLayers);
  const isListed = Array.isArray(layerTypes);
  const odd = isListed
    ? (layerTypes.find((t) => t !== 'full_attention' && t !== 'sliding_attention') ??
      (layerTypes.length === numLayers ? undefined : layerTypes))
    : layerTypes;
  if (odd !== undefined) {
    throw new UnsupportedConfigError(
      `config.json: layer_types has ${JSON.stringify(odd)}, wanted "full_attention" or "sliding_attention" for each of ${numLayers} layers`,
    );
  }
  const has = (layer: number): boolean =>
    isListed ? layerTypes[layer] === 'sliding_attention' : uses && layer >= from;
  const layers = Array.from({ length: numLayers }, (_, layer) => has(layer));
  const isWanted = layers.includes(true);
  // It is read where nobody needs it, too: keys that nobody reads are an error.
  if (!isWanted) read.raw('sliding_window');
  const window = isWanted ? read.count('sliding_window') : undefined;
  return layers.map((sees) => (sees ? window : undefined));
}

/** Embedding, `layer` for each layer on the residual stream, final norm, output head (tied to the embedding if the config says so). */
export function decoder(
  w: Weights,
  cfg: Pick<
    DecoderConfig,
    'vocabSize' | 'hiddenSize' | 'numHiddenLayers' | 'rmsNormEps' | 'tieWordEmbeddings'
  >,
  into: Recording,
  layer: (x: Tensor, w: Weights, layer: number) => Tensor,
): Tensor {
  const model = w.at('model');
  const embedding = model.matrix(['embed_tokens'], [cfg.vocabSize], cfg.hiddenSize, { role: 'embedding' });
  let x = model
    .at('embed_tokens')
    .run(() => named(embed(into.graph, into.rows, embedding), 'model.embed_tokens'));
  for (let i = 0; i < cfg.numHiddenLayers; i++) {
    x = model.at('layers', i).run((wl) => named(layer(x, wl, i), wl.path));
  }
  const normed = model.at('norm').run(() => {
    const isLast = into.logits === 'last' && into.rows > 1;
    // Of rows that nobody drafts from, only the last is worth a norm.
    if (!into.hidden) return norm(isLast ? lastRow(x, into.sequences) : x, model, 'norm', cfg);
    const all = norm(x, model, 'norm', cfg, into.hidden);
    return isLast ? lastRow(all, into.sequences) : all;
  });
  if (!into.hidden) named(normed, 'model.norm');
  const head = cfg.tieWordEmbeddings
    ? embedding
    : w.matrix(['lm_head'], [cfg.vocabSize], cfg.hiddenSize, { role: 'head' });
  return w.at('lm_head').run(() => named(linear(normed, head), 'lm_head'));
}

/** RMS norm with the weight `name`. */
export function norm(
  x: Tensor,
  w: Weights,
  name: string,
  cfg: { hiddenSize: number; rmsNormEps: number },
  out?: Tensor,
): Tensor {
  return rmsNorm(x, w.vector([`${name}.weight`], [cfg.hiddenSize]), cfg.rmsNormEps, out);
}

/** x + attention(norm(x)), then x plus each of what mlp(norm(x)) gives. */
export function preNormLayer(
  x: Tensor,
  w: Weights,
  cfg: { hiddenSize: number; rmsNormEps: number },
  attention: (x: Tensor, w: Weights) => Tensor,
  mlp: (x: Tensor, w: Weights) => readonly Tensor[],
): Tensor {
  const attended = w.at('self_attn').run((wa) => add(x, attention(norm(x, w, 'input_layernorm', cfg), wa)));
  return w
    .at('mlp')
    .run((wm) => mlp(norm(attended, w, 'post_attention_layernorm', cfg), wm).reduce(add, attended));
}

/** down(activate(gate(x)) * up(x)). */
export function gatedMlp(
  x: Tensor,
  w: Weights,
  {
    hiddenSize,
    intermediateSize,
    hiddenAct,
  }: { hiddenSize: number; intermediateSize: number; hiddenAct: Activation },
  down: (hidden: Tensor, weight: Weight) => Tensor = linear,
): Tensor {
  const gateUp = w.matrix(['gate_proj', 'up_proj'], [intermediateSize, intermediateSize], hiddenSize, {
    layout: 'interleaved',
  });
  return down(gate(linear(x, gateUp), hiddenAct), w.matrix(['down_proj'], [hiddenSize], intermediateSize));
}

/** q, k and v in one projection: views [rows, heads, head_dim] of its output. */
export function projectQkv(x: Tensor, w: Weights, cfg: DecoderConfig): Tensor {
  const names = ['q_proj', 'k_proj', 'v_proj'];
  const sizes = [cfg.numAttentionHeads, cfg.numKeyValueHeads, cfg.numKeyValueHeads].map(
    (n) => n * cfg.headDim,
  );
  const bias = cfg.attentionBias
    ? w.vector(
        names.map((n) => `${n}.bias`),
        sizes,
      )
    : undefined;
  return linear(x, w.matrix(names, sizes, cfg.hiddenSize), bias);
}
