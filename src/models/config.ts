/**
 * @file Reads config.json key by key. A key that nobody reads, and that is not known to leave the arithmetic alone, is an
 * error that names it: silently ignoring it would mean silently wrong output.
 */
import { UnsupportedConfigError } from '../errors.ts';

/**
 * Keys that do not change what the forward pass computes, whatever their values, or that another room reads (weights:
 * `quantization_config` and MLX's `quantization`).
 */
const HARMLESS = new Set([
  '_attn_implementation',
  '_attn_implementation_autoset',
  '_name_or_path',
  'architectures',
  'attention_dropout',
  'attn_implementation',
  'auto_map',
  'aux_loss_alpha',
  'bos_token_id',
  'dtype',
  'embd_pdrop',
  'eos_token_id',
  'ep_size',
  'finetuning_task',
  'gradient_checkpointing',
  'hidden_dropout',
  'id2label',
  'initializer_range',
  'label2id',
  'max_length',
  'min_length',
  'model_max_length',
  'model_type',
  'pad_token_id',
  'prefix',
  'pretraining_tp',
  'problem_type',
  'quantization',
  'quantization_config',
  'resid_pdrop',
  'return_dict',
  'router_aux_loss_coef',
  'router_jitter_noise',
  'sep_token_id',
  'seq_aux',
  'task_specific_params',
  'tf_legacy_loss',
  'tokenizer_class',
  'torch_dtype',
  'torchscript',
  'transformers.js_config',
  'transformers_version',
  'use_bfloat16',
  'use_cache',
]);
/** Prefixes of keys that tools add about themselves. */
const HARMLESS_PREFIXES = ['unsloth_', 'output_'];

/**
 * What else transformers' PretrainedConfig (4.36 to 5.3) writes into every config.json, where nobody changed it: at these values such a
 * key says nothing. Others are null.
 */
const UNCHANGED: Readonly<Record<string, unknown>> = {
  add_cross_attention: false,
  chunk_size_feed_forward: 0,
  diversity_penalty: 0,
  do_sample: false,
  early_stopping: false,
  encoder_no_repeat_ngram_size: 0,
  is_decoder: false,
  is_encoder_decoder: false,
  length_penalty: 1,
  no_repeat_ngram_size: 0,
  num_beam_groups: 1,
  num_beams: 1,
  num_return_sequences: 1,
  pruned_heads: {},
  remove_invalid_values: false,
  repetition_penalty: 1,
  return_dict_in_generate: false,
  temperature: 1,
  tie_encoder_decoder: false,
  tie_word_embeddings: true,
  top_k: 50,
  top_p: 1,
  typical_p: 1,
  // Of Qwen2: whether positions have three parts, as pictures want them.
  use_mrope: false,
};

const isUnchanged = (key: string, value: unknown): boolean =>
  Object.hasOwn(UNCHANGED, key) && JSON.stringify(UNCHANGED[key]) === JSON.stringify(value);

export interface ConfigReader {
  /** A positive integer; without `fallback` it must be there. */
  count(key: string, fallback?: number): number;
  /** An integer from 0 on. */
  natural(key: string, fallback: number): number;
  /** A finite number. */
  number(key: string, fallback?: number): number;
  /** A finite number above 0. */
  positive(key: string, fallback?: number): number;
  flag(key: string, fallback: boolean): boolean;
  /** Natural numbers; a missing key counts as none. */
  list(key: string): readonly number[];
  /** The only value that is implemented. A missing key counts as that value. */
  expect(key: string, wanted: string | boolean | number): void;
  /** What the value stands for in `choices`. A missing key counts as `fallback`. */
  choice<T>(key: string, choices: Readonly<Record<string, T>>, fallback: T): T;
  /** The value as it stands; whoever asks checks it. */
  raw(key: string): unknown;
  /** Throws if a key that may matter was never read. */
  finish(): void;
}

/** Far above any published model, and few enough that a plan of all layers is small. */
const MAX_LAYERS = 4096;

/** `num_hidden_layers`. @throws UnsupportedConfigError where there are so many that planning them would take all memory */
export function numLayersOf(read: ConfigReader): number {
  const numLayers = read.count('num_hidden_layers');
  if (numLayers <= MAX_LAYERS) return numLayers;
  throw new UnsupportedConfigError(
    `config.json: num_hidden_layers is ${numLayers}, wanted at most ${MAX_LAYERS}`,
  );
}

export function configReader(config: Readonly<Record<string, unknown>>, file = 'config.json'): ConfigReader {
  const read = new Set<string>();
  const fail = (key: string, wanted: string): never => {
    throw new UnsupportedConfigError(`${file}: ${key} is ${JSON.stringify(config[key])}, wanted ${wanted}`);
  };
  const get = (key: string): unknown => {
    read.add(key);
    return Object.hasOwn(config, key) ? (config[key] ?? undefined) : undefined;
  };
  const number = (key: string, fallback?: number): number => {
    const value = get(key) ?? fallback;
    return typeof value === 'number' && Number.isFinite(value) ? value : fail(key, 'a number');
  };
  return {
    number,
    count(key, fallback) {
      const value = number(key, fallback);
      return Number.isSafeInteger(value) && value > 0 ? value : fail(key, 'a positive integer');
    },
    natural(key, fallback) {
      const value = number(key, fallback);
      return Number.isSafeInteger(value) && value >= 0 ? value : fail(key, 'an integer from 0 on');
    },
    positive(key, fallback) {
      const value = number(key, fallback);
      return value > 0 ? value : fail(key, 'a number above 0');
    },
    flag(key, fallback) {
      const value = get(key) ?? fallback;
      return typeof value === 'boolean' ? value : fail(key, 'true or false');
    },
    list(key) {
      const value = get(key) ?? [];
      const isList = Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
      return isList ? value : fail(key, 'a list of natural numbers');
    },
    expect(key, wanted) {
      const value = get(key);
      if (value !== undefined && value !== wanted)
        fail(key, `${JSON.stringify(wanted)}, the only value that is implemented`);
    },
    choice(key, choices, fallback) {
      const value = get(key);
      if (value === undefined) return fallback;
      return typeof value === 'string' && Object.hasOwn(choices, value)
        ? choices[value]!
        : fail(key, `one of ${Object.keys(choices).join(', ')}`);
    },
    raw: get,
    finish() {
      const unread = Object.keys(config).filter(
        (key) =>
          !read.has(key) &&
          config[key] !== null &&
          !HARMLESS.has(key) &&
          !isUnchanged(key, config[key]) &&
          !HARMLESS_PREFIXES.some((p) => key.startsWith(p)),
      );
      if (unread.length > 0) {
        throw new UnsupportedConfigError(
          `${file} has ${unread.map((k) => `${k}: ${JSON.stringify(config[k])?.slice(0, 80)}`).join(', ')}, which this family does not understand. ` +
            'A key that changes nothing of the arithmetic may be removed from config.json; one that does asks for a model that is not implemented.',
        );
      }
    },
  };
}
