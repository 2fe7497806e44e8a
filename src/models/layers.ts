/** @file What the families share: the dense decoder's config, its frame (embedding, layers, final norm, head) and its MLP. */
import { UnsupportedConfigError } from '../errors.ts';
import { type Activation, HIDDEN_ACTS } from '../graph/activation.ts';
import type { Tensor } from '../graph/graph.ts';
import { add, gate, lastRow } from '../graph/ops/elementwise.ts';
import { embed } from '../graph/ops/embed.ts';
import type { RopePairing } from '../graph/ops/heads.ts';
import { linear } from '../graph/ops/linear.ts';
import { rmsNorm } from '../graph/ops/norm.ts';
import { readRope } from '../graph/rope.ts';
import { unlessMixed, type Weight, type Weights } from '../graph/weight.ts';
import { type ConfigReader, configReader, numLayersOf } from './config.ts';
import { type ModelConfig, named, type Recording } from './model.ts';

/** Keys as in config.json, camelCased. */
export interface DecoderConfig extends ModelConfig {
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  readonly intermediateSize: number;
  readonly rmsNormEps: number;
  readonly tieWordEmbeddings: boolean;
  /** Of q, k and v. */
  readonly attentionBias: boolean;
  /** Of what attention gives. */
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  /** Scores are multiplied with it. */
  readonly attentionScale: number;
  /** What is rotated together: values half a head apart, or neighbours (GGUF files of Llama's kin). */
  readonly pairing: RopePairing;
  /** Embeddings, what a layer adds, and logits are multiplied with these. */
  readonly embeddingMultiplier: number;
  readonly residualMultiplier: number;
  readonly logitsMultiplier: number;
  readonly hiddenAct: Activation;
  /** Of each layer the positions that a row sees, its own included; undefined: all. */
  readonly layerWindows: readonly (number | undefined)[];
}

/** What families take for granted, and their configs do not say. */
interface Defaults {
  attentionBias: boolean;
  /** `attention_bias` is one of o_proj, too. */
  biasesOutput?: boolean;
  tieWordEmbeddings?: boolean;
}

/** Reads what every GQA decoder has. The family reads its own keys first, through `own`, and what it gives wins. */
export function decoderConfig<Own extends object = object>(
  json: Readonly<Record<string, unknown>>,
  { attentionBias: isBiased, biasesOutput = false, tieWordEmbeddings = false }: Defaults,
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
  for (const key of ['rope_theta', 'rope_scaling', 'rope_parameters', 'partial_rotary_factor']) read.raw(key);
  const maxPositionEmbeddings = longestContext(read);
  const numHiddenLayers = numLayersOf(read);
  const layerWindows = readWindows(read, numHiddenLayers);
  const attentionBias = read.flag('attention_bias', isBiased);
  const config: Omit<DecoderConfig, 'windows'> = {
    vocabSize: read.count('vocab_size'),
    hiddenSize,
    numHiddenLayers,
    layerWindows,
    numAttentionHeads,
    numKeyValueHeads,
    headDim,
    intermediateSize: read.count('intermediate_size'),
    rmsNormEps: read.number('rms_norm_eps'),
    tieWordEmbeddings: read.flag('tie_word_embeddings', tieWordEmbeddings),
    hiddenAct: read.choice('hidden_act', HIDDEN_ACTS, 'silu'),
    attentionBias,
    outputBias: attentionBias && biasesOutput,
    mlpBias: read.flag('mlp_bias', false),
    attentionScale: headDim ** -0.5,
    pairing: read.flag('rope_interleave', false) ? 'interleaved' : 'half',
    embeddingMultiplier: 1,
    residualMultiplier: 1,
    logitsMultiplier: 1,
    maxPositionEmbeddings,
    rope: readRope(json, headDim, 'config.json'),
  };
  read.finish();
  const all = { ...config, ...more };
  // A window as long as the context hides nothing.
  const windowsOf = all.layerWindows.map((window) =>
    window !== undefined && window < maxPositionEmbeddings ? window : undefined,
  );
  return { ...all, layerWindows: windowsOf, windows: [...new Set([undefined, ...windowsOf])] };
}

/**
 * `max_position_embeddings`, and no more than what `dual_chunk_attention_config` (Qwen2.5-1M, Qwen3-2507 at 1M) leaves as it is: within its
 * first chunk, and up to the length from which on it scales scores, dual chunk attention is plain attention.
 */
function longestContext(read: ConfigReader): number {
  const most = read.count('max_position_embeddings');
  const key = 'dual_chunk_attention_config';
  const found = read.raw(key);
  // Which scores a long prompt may leave out.
  read.raw('sparse_attention_config');
  if (found === undefined) return most;
  const isObject = typeof found === 'object' && !Array.isArray(found);
  const chunks = configReader(
    isObject ? (found as Readonly<Record<string, unknown>>) : {},
    `config.json: ${key}`,
  );
  for (const sparse of ['sparse_attention_config', 'sparse_attention_enabled']) chunks.raw(sparse);
  const length = chunks.count('chunk_size') - chunks.count('local_size');
  if (length <= 0) {
    throw new UnsupportedConfigError(
      `config.json: ${key} has a chunk_size of ${chunks.raw('chunk_size')}, wanted more than its local_size of ${chunks.raw('local_size')}`,
    );
  }
  const original = chunks.count('original_max_position_embeddings', most);
  chunks.finish();
  return Math.min(most, length, original);
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

/**
 * Embedding, `layer` for each layer on the residual stream, final norm, output head (tied to the embedding if the config says so); without
 * what `into` says is there already, or not wanted.
 */
export function decoder(
  w: Weights,
  cfg: Pick<
    DecoderConfig,
    'vocabSize' | 'hiddenSize' | 'numHiddenLayers' | 'rmsNormEps' | 'tieWordEmbeddings'
  > &
    Partial<Pick<DecoderConfig, 'embeddingMultiplier' | 'logitsMultiplier'>>,
  into: Recording,
  layer: (x: Tensor, w: Weights, layer: number) => Tensor,
): Tensor {
  const model = w.at('model');
  const embedding = (): Weight =>
    model.matrix(['embed_tokens'], [cfg.vocabSize], cfg.hiddenSize, { role: 'embedding' });
  const embedded = (): Tensor =>
    model
      .at('embed_tokens')
      .run(() =>
        named(embed(into.graph, into.rows, embedding(), cfg.embeddingMultiplier), 'model.embed_tokens'),
      );
  let x = into.stream ?? embedded();
  for (let i = 0; i < cfg.numHiddenLayers && !into.stream; i++) {
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
  if (into.logits === 'none') return normed;
  const head = cfg.tieWordEmbeddings
    ? embedding()
    : w.matrix(['lm_head'], [cfg.vocabSize], cfg.hiddenSize, { role: 'head' });
  return w.at('lm_head').run(() => named(linear(normed, head, undefined, cfg.logitsMultiplier), 'lm_head'));
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
    mlpBias = false,
    residualMultiplier,
  }: Pick<DecoderConfig, 'hiddenSize' | 'intermediateSize' | 'hiddenAct'> &
    Partial<Pick<DecoderConfig, 'mlpBias' | 'residualMultiplier'>>,
  prepare: (hidden: Tensor) => Tensor = (hidden) => hidden,
): Tensor {
  const names = ['gate_proj', 'up_proj'];
  const sizes = [intermediateSize, intermediateSize];
  const biasOf = (name: string, size: number): Weight | undefined =>
    mlpBias ? w.vector([`${name}.bias`], [size]) : undefined;
  const apart = (name: string): Tensor =>
    linear(x, w.matrix([name], [intermediateSize], hiddenSize), biasOf(name, intermediateSize));
  const gateUp = unlessMixed(() => w.matrix(names, sizes, hiddenSize, { layout: 'interleaved' }));
  const biases = names.map((name) => `${name}.bias`);
  const hidden = gateUp
    ? gate(linear(x, gateUp, mlpBias ? w.vector(biases, sizes, 'interleaved') : undefined), hiddenAct)
    : gate(apart('gate_proj'), hiddenAct, apart('up_proj'));
  const down = w.matrix(['down_proj'], [hiddenSize], intermediateSize);
  return linear(prepare(hidden), down, biasOf('down_proj', hiddenSize), residualMultiplier);
}
