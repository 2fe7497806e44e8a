/**
 * @file The names of tensors in GGUF files, as the names that Hugging Face checkpoints have. It must not know what models do with
 * them.
 * Source: llama.cpp, gguf-py/gguf/constants.py.
 */

const OUTSIDE: Readonly<Record<string, string>> = {
  token_embd: 'model.embed_tokens',
  output_norm: 'model.norm',
  output: 'lm_head',
};

/** Below `blk.N.`: below `model.layers.N.`. */
const IN_LAYER: Readonly<Record<string, string>> = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_qkv: 'self_attn.qkv_proj',
  attn_output: 'self_attn.o_proj',
  attn_q_norm: 'self_attn.q_norm',
  attn_k_norm: 'self_attn.k_norm',
  attn_q_a: 'self_attn.q_a_proj',
  attn_q_a_norm: 'self_attn.q_a_layernorm',
  attn_q_b: 'self_attn.q_b_proj',
  attn_kv_a_mqa: 'self_attn.kv_a_proj_with_mqa',
  attn_kv_a_norm: 'self_attn.kv_a_layernorm',
  attn_kv_b: 'self_attn.kv_b_proj',
  // The two halves of kv_b_proj, the first one transposed, as MLX names them.
  attn_k_b: 'self_attn.embed_q',
  attn_v_b: 'self_attn.unembed_out',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
  ffn_gate_inp: 'mlp.gate',
  ffn_gate_exps: 'mlp.switch_mlp.gate_proj',
  ffn_up_exps: 'mlp.switch_mlp.up_proj',
  ffn_down_exps: 'mlp.switch_mlp.down_proj',
};

const OF_QWEN2_MOE: Readonly<Record<string, string>> = {
  ffn_gate_inp_shexp: 'mlp.shared_expert_gate',
  ffn_gate_shexp: 'mlp.shared_expert.gate_proj',
  ffn_up_shexp: 'mlp.shared_expert.up_proj',
  ffn_down_shexp: 'mlp.shared_expert.down_proj',
};

const OF_DEEPSEEK: Readonly<Record<string, string>> = {
  ffn_gate_shexp: 'mlp.shared_experts.gate_proj',
  ffn_up_shexp: 'mlp.shared_experts.up_proj',
  ffn_down_shexp: 'mlp.shared_experts.down_proj',
  exp_probs_b: 'mlp.gate.e_score_correction_bias',
};

/** What an architecture has of its own; phi3's `ffn_up` holds gate and up. */
const OF_ARCHITECTURE: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  qwen2moe: OF_QWEN2_MOE,
  deepseek2: OF_DEEPSEEK,
  phi3: { ffn_up: 'mlp.gate_up_proj' },
};

/** Tensors that say how to rotate; the config has what they hold. */
export const ROTARY_TENSORS = ['rope_freqs.weight', 'rope_factors_long.weight', 'rope_factors_short.weight'];

/** A tensor's name in a Hugging Face checkpoint; undefined for one that no model of the architecture has. */
export function usualName(name: string, architecture: string): string | undefined {
  const [, layer, stem, suffix] = /^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$/.exec(name) ?? [];
  if (stem === undefined) return undefined;
  if (layer === undefined) return OUTSIDE[stem] && `${OUTSIDE[stem]}.${suffix}`;
  const module = OF_ARCHITECTURE[architecture]?.[stem] ?? IN_LAYER[stem];
  if (module === undefined) return undefined;
  // The bias by which experts are chosen is a parameter of its own there.
  return `model.layers.${layer}.${stem === 'exp_probs_b' ? module : `${module}.${suffix}`}`;
}
