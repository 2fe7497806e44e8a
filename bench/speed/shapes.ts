/** @file The models that are measured, as configs: small ones that a software adapter can run, and published sizes. */

export interface Qwen3Sizes {
  hidden: number;
  layers: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  mlp: number;
  vocab: number;
  isTied?: boolean;
}

export type Config = Readonly<Record<string, unknown>>;

const qwen3 = (sizes: Qwen3Sizes): Config => ({
  architectures: ['Qwen3ForCausalLM'],
  model_type: 'qwen3',
  hidden_act: 'silu',
  hidden_size: sizes.hidden,
  intermediate_size: sizes.mlp,
  num_hidden_layers: sizes.layers,
  num_attention_heads: sizes.heads,
  num_key_value_heads: sizes.kvHeads,
  head_dim: sizes.headDim,
  max_position_embeddings: 40960,
  rms_norm_eps: 1e-6,
  rope_theta: 1e6,
  tie_word_embeddings: sizes.isTied ?? true,
  vocab_size: sizes.vocab,
});

const head128 = { kvHeads: 8, headDim: 128, vocab: 151936 } as const;

export const SHAPES = {
  S: qwen3({ hidden: 512, layers: 8, heads: 8, kvHeads: 4, headDim: 64, mlp: 1536, vocab: 8192 }),
  M: qwen3({ ...head128, hidden: 1024, layers: 4, heads: 16, mlp: 3072, vocab: 16384 }),
  /** As many layers as Qwen3-0.6B, so narrow that what the host does shows. */
  deep: qwen3({ hidden: 128, layers: 28, heads: 4, kvHeads: 2, headDim: 32, mlp: 256, vocab: 1024 }),
  'qwen3-0.6b': qwen3({ ...head128, hidden: 1024, layers: 28, heads: 16, mlp: 3072 }),
  'qwen3-4b': qwen3({ ...head128, hidden: 2560, layers: 36, heads: 32, mlp: 9728 }),
  'qwen3-8b': qwen3({ ...head128, hidden: 4096, layers: 36, heads: 32, mlp: 12288, isTied: false }),
  'qwen3-30b-a3b': {
    ...qwen3({
      hidden: 2048,
      layers: 48,
      heads: 32,
      kvHeads: 4,
      headDim: 128,
      mlp: 6144,
      vocab: 151936,
      isTied: false,
    }),
    architectures: ['Qwen3MoeForCausalLM'],
    model_type: 'qwen3_moe',
    moe_intermediate_size: 768,
    num_experts: 128,
    num_experts_per_tok: 8,
    norm_topk_prob: true,
    decoder_sparse_step: 1,
    mlp_only_layers: [],
  },
} as const satisfies Record<string, Config>;

export type ShapeName = keyof typeof SHAPES;
