/** Configs as people have them: what tools write beside what matters is accepted where it says nothing, and refused by name where it does. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { UnsupportedConfigError } from '../../src/errors.ts';
import { families, familyOf } from '../../src/models/index.ts';
import dump from '../fixtures/pretrained-config.json';

type Json = Record<string, unknown>;

const fixture = (name: string): Json =>
  JSON.parse(readFileSync(new URL(`../fixtures/${name}/config.json`, import.meta.url), 'utf8'));
const common = {
  vocab_size: 256,
  hidden_size: 64,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  intermediate_size: 96,
  max_position_embeddings: 1024,
  rms_norm_eps: 1e-5,
  rope_theta: 1e4,
};
/** A small config of each family. */
const configs: Record<string, Json> = {
  qwen2: fixture('goldens/qwen2'),
  qwen2_moe: fixture('goldens/qwen2-moe'),
  qwen3: fixture('configs/qwen3-0.6b'),
  qwen3_moe: fixture('configs/qwen3-30b-a3b'),
  deepseek_v3: fixture('configs/deepseek-v3'),
  deepseek_v2: {
    ...fixture('goldens/deepseek-v3-noqlora'),
    architectures: ['DeepseekV2ForCausalLM'],
    model_type: 'deepseek_v2',
    scoring_func: 'softmax',
    topk_method: 'greedy',
    norm_topk_prob: false,
  },
  llama: { ...common, architectures: ['LlamaForCausalLM'], model_type: 'llama' },
  mistral: { ...common, architectures: ['MistralForCausalLM'], model_type: 'mistral' },
  smollm3: { ...common, architectures: ['SmolLM3ForCausalLM'], model_type: 'smollm3' },
  granite: { ...common, architectures: ['GraniteForCausalLM'], model_type: 'granite' },
  phi3: fixture('goldens/phi3'),
};
const read = (json: Json) => familyOf(json).config(json);

it('there is a config here for every family', () => {
  expect(Object.keys(configs).sort()).toEqual(families.map(({ modelType }) => modelType).sort());
});

describe.each(Object.entries(configs))('%s', (modelType, config) => {
  it.each(Object.entries(dump))(
    'loads with all that PretrainedConfig of transformers %s writes',
    (_, keys) => {
      const plain = read(config);
      expect(read({ ...keys, ...config })).toEqual({ ...plain, tieWordEmbeddings: expect.any(Boolean) });
    },
  );

  it('is known by its model_type where no architecture is named', () => {
    for (const architectures of [undefined, null, []]) {
      expect(familyOf({ ...config, architectures }).modelType).toBe(modelType);
    }
  });

  it.each<Json>([
    { _attn_implementation_autoset: true },
    { gradient_checkpointing: true, model_max_length: 32768, attn_implementation: 'flash_attention_2' },
    { tokenizer_class: 'Qwen2Tokenizer', 'transformers.js_config': { dtype: 'q4' } },
    { use_mrope: false },
    { hidden_act: 'swish' },
    { architectures_of_mine: null },
  ])('accepts %j', (change) => {
    expect(read({ ...config, ...change })).toEqual(read({ ...config, hidden_act: 'silu' }));
  });

  it.each<[Json, RegExp]>([
    [{ logit_softcap: 30 }, /logit_softcap: 30/],
    [{ num_beams: 4 }, /num_beams: 4/],
    [{ is_encoder_decoder: true }, /is_encoder_decoder: true/],
    [{ use_mrope: true }, /use_mrope: true/],
    [{ pruned_heads: { 0: [1] } }, /pruned_heads/],
  ])('refuses %j by name, and says what to do', (change, message) => {
    const reading = () => read({ ...config, ...change });
    expect(reading).toThrow(UnsupportedConfigError);
    expect(reading).toThrow(message);
    expect(reading).toThrow(/removed from config\.json/);
    expect(reading).not.toThrow(/src\//);
  });
});

it.each(Object.entries(configs))(
  '%s with layers beyond all memory is refused before they are counted out',
  (_, config) => {
    for (const count of [1e6, 2 ** 31, 2 ** 53 - 1]) {
      expect(() => read({ ...config, num_hidden_layers: count })).toThrow(UnsupportedConfigError);
      expect(() => read({ ...config, num_hidden_layers: count })).toThrow(
        /num_hidden_layers is \d+, wanted at most/,
      );
    }
  },
);

describe('keys that some families have', () => {
  /** As Qwen2.5-7B-Instruct-1M has them. */
  const chunks = { chunk_size: 262_144, local_size: 8192, original_max_position_embeddings: 262_144 };
  const millions = { max_position_embeddings: 1_010_000 };
  it.each<[string, Json]>([
    ['qwen3_moe', { qkv_bias: false, use_qk_norm: true, shared_expert_intermediate_size: 0 }],
    ['qwen2_moe', { qkv_bias: true }],
    ['mistral', { sliding_window: null }],
    ['mistral', { sliding_window: 1024 }],
    ['phi3', { sliding_window: null, full_attn_mod: 1, interpolate_factor: 1, lm_head_bias: false }],
    ['phi3', { attention_bias: false, mlp_bias: false }],
    ['deepseek_v2', { n_group: null, topk_group: null }],
    ['smollm3', { no_rope_layers: [1, 1, 1, 0] }],
  ])('%s loads with %j, which says what it takes for granted', (family, change) => {
    expect(read({ ...configs[family], ...change })).toEqual(read(configs[family]!));
  });

  it.each<[string, Json, object]>([
    ['mistral', { sliding_window: 40 }, { layerWindows: [40, 40, 40, 40], windows: [undefined, 40] }],
    [
      'llama',
      { attention_bias: true, mlp_bias: true },
      { attentionBias: true, outputBias: true, mlpBias: true },
    ],
    ['qwen2', { ...millions, dual_chunk_attention_config: chunks }, { maxPositionEmbeddings: 253_952 }],
    [
      'qwen3_moe',
      { ...millions, dual_chunk_attention_config: chunks, sparse_attention_config: { '0': {} } },
      { maxPositionEmbeddings: 253_952 },
    ],
    [
      'qwen3',
      { ...millions, dual_chunk_attention_config: { chunk_size: 96, local_size: 16 } },
      { maxPositionEmbeddings: 80 },
    ],
    [
      'qwen3',
      {
        ...millions,
        dual_chunk_attention_config: { ...chunks, original_max_position_embeddings: 32_768 },
      },
      { maxPositionEmbeddings: 32_768 },
    ],
    ['qwen3', { dual_chunk_attention_config: null }, { maxPositionEmbeddings: 40_960 }],
    ['phi3', { sliding_window: 64 }, { layerWindows: [64, 64], windows: [undefined, 64] }],
    ['qwen2', { attention_bias: true }, { attentionBias: true, outputBias: false }],
    ['qwen3', { attention_bias: true }, { attentionBias: true, outputBias: true }],
    ['smollm3', { no_rope_layer_interval: 2 }, { rotates: [true, false, true, false] }],
    ['smollm3', { no_rope_layers: [0, 1, 1, 1] }, { rotates: [false, true, true, true] }],
    [
      'granite',
      {
        embedding_multiplier: 12,
        attention_multiplier: 0.0625,
        residual_multiplier: 0.22,
        logits_scaling: 8,
      },
      { embeddingMultiplier: 12, attentionScale: 0.0625, residualMultiplier: 0.22, logitsMultiplier: 1 / 8 },
    ],
    [
      'deepseek_v2',
      { topk_method: 'group_limited_greedy', n_group: 4, topk_group: 2 },
      { nGroup: 4, topkGroup: 2 },
    ],
    ['deepseek_v2', { topk_method: 'greedy', n_group: 4, topk_group: 2 }, { nGroup: 1, topkGroup: 1 }],
  ])('%s with %j reads them', (family, change, wanted) => {
    expect(read({ ...configs[family], ...change })).toMatchObject(wanted);
  });

  it.each<[string, Json, RegExp]>([
    [
      'qwen3_moe',
      { shared_expert_intermediate_size: 512 },
      /shared_expert_intermediate_size is 512, wanted 0/,
    ],
    ['smollm3', { no_rope_layers: [1, 1] }, /no_rope_layers is \[1,1\], wanted 0 or 1 for each of 4 layers/],
    [
      'qwen2',
      { dual_chunk_attention_config: { ...chunks, local_size: 262_144 } },
      /a chunk_size of 262144, wanted more than its local_size of 262144/,
    ],
    ['qwen2', { dual_chunk_attention_config: {} }, /dual_chunk_attention_config: chunk_size is undefined/],
    ['qwen2', { dual_chunk_attention_config: true }, /dual_chunk_attention_config: chunk_size is undefined/],
    [
      'qwen2',
      { dual_chunk_attention_config: { ...chunks, stride: 2 } },
      /dual_chunk_attention_config has stride: 2/,
    ],
    ['phi3', { attention_bias: true }, /attention_bias is true, wanted false/],
    ['phi3', { lm_head_bias: true }, /lm_head_bias is true, wanted false/],
    ['granite', { logits_scaling: 0 }, /logits_scaling is 0, wanted a number above 0/],
    ['deepseek_v2', { norm_topk_prob: true }, /norm_topk_prob is true/],
    [
      'deepseek_v2',
      { topk_method: 'noaux_tc' },
      /topk_method is "noaux_tc", wanted one of greedy, group_limited_greedy/,
    ],
    ['mistral', { sliding_window: -4 }, /sliding_window is -4/],
  ])('%s refuses %j', (family, change, message) => {
    expect(() => read({ ...configs[family], ...change })).toThrow(UnsupportedConfigError);
    expect(() => read({ ...configs[family], ...change })).toThrow(message);
  });
});
