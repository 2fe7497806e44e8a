/** @file A Qwen3 as llama.cpp reads it: Q4_0, whose blocks are just our groups, and a vocabulary of names that stand for their ids. */
import { type GgufTensor, type GgufValue, ggufFile } from './gguf.ts';
import { EMBEDDING, GROUP, type Int4Matrix, type Int4Model, layerName, NORM, toF16 } from './int4-model.ts';

const LAYER_TENSORS = {
  input_layernorm: 'attn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  'self_attn.o_proj': 'attn_output',
  post_attention_layernorm: 'ffn_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
} as const;

/** A token as text; prompts of these come out as the ids that they name. */
export const tokenText = (id: number): string => `<|${id}|>`;

/** Tokens that are found in a text before anything else is looked for. */
const USER_DEFINED = 4;

export function ggufQwen3({ sizes, matrices, vectors }: Int4Model, contextLength: number): Uint8Array[] {
  const { hidden, layers, heads, kvHeads, headDim, mlp, vocab, epsilon, ropeTheta } = sizes;
  const tensors: GgufTensor[] = [];
  const add = (from: string, name: string): void => {
    const matrix = matrices.get(from);
    const vector = vectors.get(from);
    if (matrix) tensors.push({ name, type: 'q4_0', shape: [matrix.rows, matrix.cols], data: toQ40(matrix) });
    else if (vector)
      tensors.push({ name, type: 'f32', shape: [vector.length], data: new Uint8Array(vector.buffer) });
  };
  add(EMBEDDING, 'token_embd.weight');
  add(NORM, 'output_norm.weight');
  for (let l = 0; l < layers; l++)
    for (const [from, to] of Object.entries(LAYER_TENSORS)) add(layerName(l, from), `blk.${l}.${to}.weight`);
  const u32 = (value: number): GgufValue => ({ type: 'u32', value });
  const f32 = (value: number): GgufValue => ({ type: 'f32', value });
  const string = (value: string): GgufValue => ({ type: 'string', value });
  const ids = Array.from({ length: vocab }, (_, id) => id);
  const values: Record<string, GgufValue> = {
    'general.architecture': string('qwen3'),
    'qwen3.block_count': u32(layers),
    'qwen3.context_length': u32(contextLength),
    'qwen3.embedding_length': u32(hidden),
    'qwen3.feed_forward_length': u32(mlp),
    'qwen3.attention.head_count': u32(heads),
    'qwen3.attention.head_count_kv': u32(kvHeads),
    'qwen3.attention.key_length': u32(headDim),
    'qwen3.attention.value_length': u32(headDim),
    'qwen3.attention.layer_norm_rms_epsilon': f32(epsilon),
    'qwen3.rope.freq_base': f32(ropeTheta),
    'tokenizer.ggml.model': string('gpt2'),
    'tokenizer.ggml.pre': string('qwen2'),
    'tokenizer.ggml.tokens': { type: 'strings', value: ids.map(tokenText) },
    'tokenizer.ggml.token_type': { type: 'i32s', value: ids.map(() => USER_DEFINED) },
    'tokenizer.ggml.merges': { type: 'strings', value: [] },
    'tokenizer.ggml.eos_token_id': u32(0),
    'tokenizer.ggml.bos_token_id': u32(0),
    'tokenizer.ggml.add_bos_token': { type: 'bool', value: false },
  };
  return ggufFile(values, tensors);
}

/** Blocks of a float16 scale and 16 bytes; a byte has the codes of columns j and j + 16. */
function toQ40({ codes, scales }: Int4Matrix): Uint8Array {
  const halfBytes = GROUP / 4;
  const blockBytes = 2 + GROUP / 2;
  const scaleBits = toF16(scales);
  const blocks = new Uint8Array(scales.length * blockBytes);
  for (let b = 0; b < scales.length; b++) {
    const at = b * blockBytes;
    blocks[at] = scaleBits[b]! & 255;
    blocks[at + 1] = scaleBits[b]! >> 8;
    for (let i = 0; i < halfBytes; i++) {
      const low = codes[(b * GROUP) / 2 + i]!;
      const high = codes[(b * GROUP) / 2 + halfBytes + i]!;
      blocks[at + 2 + 2 * i] = (low & 15) | ((high & 15) << 4);
      blocks[at + 3 + 2 * i] = (low >> 4) | (high & 0xf0);
    }
  }
  return blocks;
}
