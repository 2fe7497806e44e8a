/**
 * @file What the metadata of a GGUF file says of its model, in the words of config.json. One table of architectures. It must not know
 * what models do with it.
 * Source: llama.cpp, gguf-py/gguf/constants.py (keys), convert_hf_to_gguf.py (what they are made of).
 */
import { CorruptCheckpointError, UnsupportedConfigError } from '../../errors.ts';
import { quoted } from '../json.ts';
import type { Metadata, MetadataValue } from './container.ts';

type Json = Record<string, unknown>;

/** What the tensors tell beside the metadata. */
export interface TensorFacts {
  /** By its name in a Hugging Face checkpoint. */
  has(name: string): boolean;
  /** Rows of the embedding. */
  readonly vocabSize: number;
  /** Of `rope_freqs`, `rope_factors_long` and `rope_factors_short`, those that are there. */
  readonly rotary: Readonly<Record<string, readonly number[]>>;
}

interface Architecture {
  /** Of config.json; where there are several, `more` says which. */
  readonly modelTypes: readonly [string, ...string[]];
  readonly class: string;
  /** What it has beside what all have. */
  more(keys: Keys, facts: TensorFacts): Json;
}

/** The shortest number that is stored as the same float32: 0.7, not 0.699999988079071. */
export function shortest(value: number): number {
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value;
}

/** Reads metadata below the name of the architecture. */
class Keys {
  readonly #metadata: Metadata;
  readonly #where: string;
  readonly architecture: string;

  constructor(metadata: Metadata, architecture: string, where: string) {
    this.#metadata = metadata;
    this.architecture = architecture;
    this.#where = where;
  }

  /** A key of the architecture. */
  value(key: string): MetadataValue | undefined {
    return this.#metadata.get(`${this.architecture}.${key}`);
  }

  #fail(key: string, found: unknown, wanted: string): CorruptCheckpointError {
    const text = found === undefined ? 'missing' : quoted(String(found));
    return new CorruptCheckpointError(
      `${this.#where}: ${this.architecture}.${key} is ${text}, wanted ${wanted}. Download the file again, or choose another one.`,
    );
  }

  number(key: string): number | undefined {
    const found = this.value(key);
    if (found === undefined) return undefined;
    if (typeof found !== 'number' || !Number.isFinite(found)) throw this.#fail(key, found, 'a number');
    return shortest(found);
  }

  needed(key: string): number {
    const found = this.number(key);
    if (found === undefined) throw this.#fail(key, found, 'a number');
    return found;
  }

  /** A number, or one for each layer where all are the same. */
  same(key: string): number | undefined {
    const found = this.value(key);
    if (!Array.isArray(found)) return this.number(key);
    const [first] = found;
    if (typeof first !== 'number' || found.some((n) => n !== first)) {
      throw new UnsupportedConfigError(
        `${this.#where}: ${this.architecture}.${key} is another one in each layer; wanted one number for all. Choose another model.`,
      );
    }
    return first;
  }

  flag(key: string): boolean | undefined {
    const found = this.value(key);
    if (found !== undefined && typeof found !== 'boolean') throw this.#fail(key, found, 'true or false');
    return found;
  }
}

/** The first layer tells for all whether they have a bias. */
const hasBias = ({ has }: TensorFacts, module: string): boolean => has(`model.layers.0.${module}.bias`);

/**
 * Heads with a plain attention. `llama` and its kin have the rows of q and k in another order, so that what is rotated together lies side
 * by side.
 */
const ordered = (_: Keys, facts: TensorFacts): Json => ({
  rope_interleave: true,
  attention_bias: hasBias(facts, 'self_attn.q_proj'),
  mlp_bias: hasBias(facts, 'mlp.gate_proj'),
});

const experts = (keys: Keys): Json => ({
  moe_intermediate_size: keys.needed('expert_feed_forward_length'),
  num_experts: keys.needed('expert_count'),
  num_experts_per_tok: keys.needed('expert_used_count'),
  decoder_sparse_step: 1,
  mlp_only_layers: [],
});

/** llama.cpp's numbers of how experts are scored. */
const SIGMOID = 2;

function deepseek(keys: Keys): Json {
  const isSigmoid = keys.number('expert_gating_func') === SIGMOID;
  const keptGroups = keys.number('expert_group_used_count');
  const [keyLength, valueLength] = ['key', 'value'].map(
    (what) => keys.number(`attention.${what}_length_mla`) ?? keys.needed(`attention.${what}_length`),
  ) as [number, number];
  const rotated = keys.needed('rope.dimension_count');
  return {
    model_type: isSigmoid ? 'deepseek_v3' : 'deepseek_v2',
    architectures: [isSigmoid ? 'DeepseekV3ForCausalLM' : 'DeepseekV2ForCausalLM'],
    attention_bias: false,
    first_k_dense_replace: keys.number('leading_dense_block_count') ?? 0,
    kv_lora_rank: keys.needed('attention.kv_lora_rank'),
    q_lora_rank: keys.number('attention.q_lora_rank') ?? null,
    qk_nope_head_dim: keyLength - rotated,
    qk_rope_head_dim: rotated,
    v_head_dim: valueLength,
    num_key_value_heads: keys.needed('attention.head_count'),
    head_dim: undefined,
    moe_intermediate_size: keys.needed('expert_feed_forward_length'),
    moe_layer_freq: 1,
    n_routed_experts: keys.needed('expert_count'),
    n_shared_experts: keys.number('expert_shared_count') ?? 0,
    num_experts_per_tok: keys.needed('expert_used_count'),
    n_group: keys.number('expert_group_count') ?? 1,
    topk_group: keptGroups ?? 1,
    topk_method: isSigmoid ? 'noaux_tc' : keptGroups ? 'group_limited_greedy' : 'greedy',
    scoring_func: isSigmoid ? 'sigmoid' : 'softmax',
    norm_topk_prob: keys.flag('expert_weights_norm') ?? false,
    routed_scaling_factor: keys.number('expert_weights_scale') ?? 1,
    rope_interleave: true,
  };
}

function phi3(keys: Keys, { rotary }: TensorFacts): Json {
  const headDim = keys.needed('embedding_length') / keys.needed('attention.head_count');
  const original = keys.number('rope.scaling.original_context_length');
  const { rope_factors_long: long, rope_factors_short: short } = rotary;
  return {
    partial_rotary_factor: (keys.number('rope.dimension_count') ?? headDim) / headDim,
    ...(original !== undefined && { original_max_position_embeddings: original }),
    ...(long &&
      short && {
        rope_scaling: { rope_type: 'longrope', long_factor: long, short_factor: short },
      }),
  };
}

const granite = (keys: Keys, facts: TensorFacts): Json => ({
  ...ordered(keys, facts),
  embedding_multiplier: keys.number('embedding_scale') ?? 1,
  attention_multiplier: keys.needed('attention.scale'),
  residual_multiplier: keys.number('residual_scale') ?? 1,
  logits_scaling: keys.number('logit_scale') ?? 1,
});

/** By `general.architecture`. */
export const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  qwen2: { modelTypes: ['qwen2'], class: 'Qwen2ForCausalLM', more: () => ({}) },
  qwen2moe: {
    modelTypes: ['qwen2_moe'],
    class: 'Qwen2MoeForCausalLM',
    more: (keys) => ({
      ...experts(keys),
      shared_expert_intermediate_size: keys.needed('expert_shared_feed_forward_length'),
      norm_topk_prob: false,
    }),
  },
  qwen3: { modelTypes: ['qwen3'], class: 'Qwen3ForCausalLM', more: () => ({ attention_bias: false }) },
  qwen3moe: {
    modelTypes: ['qwen3_moe'],
    class: 'Qwen3MoeForCausalLM',
    more: (keys) => ({ ...experts(keys), attention_bias: false, norm_topk_prob: true }),
  },
  llama: { modelTypes: ['llama'], class: 'LlamaForCausalLM', more: ordered },
  smollm3: { modelTypes: ['smollm3'], class: 'SmolLM3ForCausalLM', more: ordered },
  granite: { modelTypes: ['granite'], class: 'GraniteForCausalLM', more: granite },
  phi3: { modelTypes: ['phi3'], class: 'Phi3ForCausalLM', more: phi3 },
  deepseek2: { modelTypes: ['deepseek_v3', 'deepseek_v2'], class: 'DeepseekV3ForCausalLM', more: deepseek },
};

/** @throws CorruptCheckpointError | UnsupportedConfigError for an architecture that is not run */
export function architectureOf(metadata: Metadata, where: string): string {
  const found = metadata.get('general.architecture');
  if (typeof found !== 'string') {
    throw new CorruptCheckpointError(
      `${where}: general.architecture is ${String(found)}, wanted the name of one. Download the file again.`,
    );
  }
  if (Object.hasOwn(ARCHITECTURES, found)) return found;
  throw new UnsupportedConfigError(
    `${where}: general.architecture is ${quoted(found)}; what runs is ${Object.keys(ARCHITECTURES).join(', ')}. Choose a model of one of these.`,
  );
}

/**
 * config.json of a model, as its publisher would write it.
 * @throws CorruptCheckpointError | UnsupportedConfigError naming the key
 */
export function configOf(metadata: Metadata, facts: TensorFacts, where: string): Json {
  const name = architectureOf(metadata, where);
  const { modelTypes, class: className, more } = ARCHITECTURES[name]!;
  const keys = new Keys(metadata, name, where);
  const heads = keys.needed('attention.head_count');
  const hiddenSize = keys.needed('embedding_length');
  const scaling = ropeScaling(keys, facts, where);
  if (name === 'llama' && (keys.number('expert_count') ?? 0) > 0) {
    throw new UnsupportedConfigError(
      `${where}: it is a Llama with experts (Mixtral), which is not run. Choose a dense model, or one of Qwen's with experts.`,
    );
  }
  const config: Json = {
    architectures: [className],
    model_type: modelTypes[0],
    vocab_size: facts.vocabSize,
    hidden_size: hiddenSize,
    num_hidden_layers: keys.needed('block_count'),
    num_attention_heads: heads,
    num_key_value_heads: keys.same('attention.head_count_kv') ?? heads,
    head_dim: keys.number('attention.key_length') ?? hiddenSize / heads,
    intermediate_size: keys.same('feed_forward_length') ?? 0,
    rms_norm_eps: keys.needed('attention.layer_norm_rms_epsilon'),
    max_position_embeddings: keys.needed('context_length'),
    rope_theta: keys.number('rope.freq_base') ?? 10_000,
    tie_word_embeddings: !facts.has('lm_head.weight'),
    bos_token_id: idOf(metadata, 'bos'),
    eos_token_id: idOf(metadata, 'eos'),
    ...(scaling && { rope_scaling: scaling }),
    ...windowOf(keys),
    ...more(keys, facts),
  };
  return Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined));
}

/** The id of a special token, undefined where the file names none. */
export function idOf(metadata: Metadata, name: string): number | undefined {
  const found = metadata.get(`tokenizer.ggml.${name}_token_id`);
  return typeof found === 'number' ? found : undefined;
}

/** A window of every layer, as Mistral's first models have. */
function windowOf(keys: Keys): Json {
  const window = keys.number('attention.sliding_window') ?? 0;
  const layers = keys.needed('block_count');
  if (window === 0) return {};
  return {
    sliding_window: window,
    use_sliding_window: true,
    layer_types: Array.from({ length: Math.min(layers, 4096) }, () => 'sliding_attention'),
  };
}

function ropeScaling(keys: Keys, { rotary }: TensorFacts, where: string): Json | undefined {
  if (rotary.rope_freqs) return { rope_type: 'factors', factors: rotary.rope_freqs };
  const type = keys.value('rope.scaling.type');
  if (type === undefined || type === 'none' || type === 'longrope') return undefined;
  const factor = keys.needed('rope.scaling.factor');
  if (type === 'linear') return { rope_type: 'linear', factor };
  if (type !== 'yarn') {
    throw new UnsupportedConfigError(
      `${where}: ${keys.architecture}.rope.scaling.type is ${quoted(String(type))}; what runs is none, linear, yarn and longrope.`,
    );
  }
  const multiplier = keys.number('rope.scaling.yarn_log_multiplier');
  // Both of DeepSeek's are the same, in units of 0.1.
  const mscale = multiplier === undefined ? undefined : shortest(Math.fround(multiplier / 0.1));
  return {
    rope_type: 'yarn',
    factor,
    original_max_position_embeddings: keys.needed('rope.scaling.original_context_length'),
    beta_fast: keys.number('rope.scaling.yarn_beta_fast') ?? 32,
    beta_slow: keys.number('rope.scaling.yarn_beta_slow') ?? 1,
    ...(mscale !== undefined && { mscale, mscale_all_dim: mscale }),
  };
}
