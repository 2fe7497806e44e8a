/**
 * @file A Qwen3 with random weights that every contender holds exactly: 4-bit integers in groups of 32 columns, and scales of so few
 * bits that the values are exact in bfloat16 and float16 too. It knows no file format but the checkpoint of our own.
 */
import type { Source } from '../../src/index.ts';
import { seededRandom } from '../../test/seeded-random.ts';
import type { Config, Qwen3Sizes } from '../speed/shapes.ts';

/** Columns that share a scale. */
export const GROUP = 32;

/** weight = (code - 8) * scale. */
export interface Int4Matrix {
  rows: number;
  cols: number;
  /** [rows, cols / 2]: two codes to a byte, that of the even column in the low half. */
  codes: Uint8Array;
  /** [rows, cols / 32]: multiples of 2^-12 below 2^-7. */
  scales: Float32Array;
}

export interface Int4Model {
  sizes: Sizes;
  /** By the names of Hugging Face; the head is the embedding. */
  matrices: ReadonlyMap<string, Int4Matrix>;
  vectors: ReadonlyMap<string, Float32Array>;
}

export interface Sizes extends Omit<Qwen3Sizes, 'isTied'> {
  epsilon: number;
  ropeTheta: number;
}

export const EMBEDDING = 'model.embed_tokens.weight';
export const NORM = 'model.norm.weight';
export const layerName = (layer: number, rest: string): string => `model.layers.${layer}.${rest}.weight`;

/** @throws Error for a config that is no dense Qwen3 with a tied head */
function sizesOf(config: Config): Sizes {
  if (config.model_type !== 'qwen3' || config.tie_word_embeddings !== true)
    throw new Error(
      `Peers run dense Qwen3 models with tied embeddings; found ${config.model_type}, tied: ${config.tie_word_embeddings}. Choose another shape.`,
    );
  const n = (key: string): number => config[key] as number;
  return {
    hidden: n('hidden_size'),
    layers: n('num_hidden_layers'),
    heads: n('num_attention_heads'),
    kvHeads: n('num_key_value_heads'),
    headDim: n('head_dim'),
    mlp: n('intermediate_size'),
    vocab: n('vocab_size'),
    epsilon: n('rms_norm_eps'),
    ropeTheta: n('rope_theta'),
  };
}

/** The same config gives the same weights. */
export function int4Model(config: Config): Int4Model {
  const sizes = sizesOf(config);
  const { hidden, layers, heads, kvHeads, headDim, mlp, vocab } = sizes;
  const random = seededRandom(1);
  // Our own conversion gives the embedding 8 bits and groups of 64: of these scales it finds a 17th, and 17 times the codes.
  const embedding = randomMatrix(vocab, hidden, random);
  embedding.scales.forEach((_, i, scales) => {
    scales[i] = i % 4 < 2 ? 17 * 2 ** -12 : 17 * 2 ** -13;
  });
  const matrices = new Map([[EMBEDDING, embedding]]);
  const vectors = new Map([[NORM, randomVector(hidden, random)]]);
  for (let layer = 0; layer < layers; layer++) {
    const matrix = (rest: string, rows: number, cols: number): void => {
      matrices.set(layerName(layer, rest), randomMatrix(rows, cols, random));
    };
    const vector = (rest: string, length: number): void => {
      vectors.set(layerName(layer, rest), randomVector(length, random));
    };
    vector('input_layernorm', hidden);
    matrix('self_attn.q_proj', heads * headDim, hidden);
    matrix('self_attn.k_proj', kvHeads * headDim, hidden);
    matrix('self_attn.v_proj', kvHeads * headDim, hidden);
    vector('self_attn.q_norm', headDim);
    vector('self_attn.k_norm', headDim);
    matrix('self_attn.o_proj', hidden, heads * headDim);
    vector('post_attention_layernorm', hidden);
    matrix('mlp.gate_proj', mlp, hidden);
    matrix('mlp.up_proj', mlp, hidden);
    matrix('mlp.down_proj', hidden, mlp);
  }
  return { sizes, matrices, vectors };
}

function randomMatrix(rows: number, cols: number, random: () => number): Int4Matrix {
  const words = new Uint32Array((rows * cols) / 8);
  for (let i = 0; i < words.length; i++) words[i] = random() * 2 ** 32;
  // Both ends of the range are in every group, so that our own conversion finds just these integers and scales.
  const wordsOfGroup = GROUP / 8;
  for (let i = 0; i < words.length; i += wordsOfGroup) words[i] = (words[i]! & ~0xff) | 0xf0;
  const scales = Float32Array.from(
    { length: (rows * cols) / GROUP },
    () => (16 + Math.floor(16 * random())) * 2 ** -12,
  );
  return { rows, cols, codes: new Uint8Array(words.buffer), scales };
}

/** Around 1, in steps that bfloat16 has. */
const randomVector = (length: number, random: () => number): Float32Array =>
  Float32Array.from({ length }, () => 0.75 + Math.floor(64 * random()) / 128);

/** All weights in the order of rows and columns. */
export function dequantize({ rows, cols, codes, scales }: Int4Matrix): Float32Array {
  const values = new Float32Array(rows * cols);
  for (let i = 0; i < codes.length; i++) {
    const scale = scales[Math.floor((2 * i) / GROUP)]!;
    values[2 * i] = ((codes[i]! & 15) - 8) * scale;
    values[2 * i + 1] = ((codes[i]! >> 4) - 8) * scale;
  }
  return values;
}

/** The upper halves of float32, which are exact for these values. */
const toBf16 = (values: Float32Array): Uint8Array =>
  new Uint8Array(Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16).buffer);

/** The bits of float16, for normal numbers and zero that it holds exactly. */
export function toF16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(bits, (b) =>
    (b & 0x7fffffff) === 0 ? b >>> 16 : ((b >>> 16) & 0x8000) | (((b & 0x7fffffff) >>> 13) - (112 << 10)),
  );
}

const FILE = 'model.safetensors';
const LENGTH_BYTES = 8;

/** The checkpoint as shaderloom loads it: bfloat16, to be converted with `weights: 'int4'`. */
export function checkpointOf(config: Config, { matrices, vectors }: Int4Model): Source {
  const tensors = [
    ...[...matrices].map(([name, m]) => ({
      name,
      shape: [m.rows, m.cols],
      bytes: () => toBf16(dequantize(m)),
    })),
    ...[...vectors].map(([name, v]) => ({ name, shape: [v.length], bytes: () => toBf16(v) })),
  ];
  let end = 0;
  const placed = tensors.map((tensor) => {
    const begin = end;
    end += 2 * tensor.shape.reduce((a, b) => a * b, 1);
    return { ...tensor, begin, end };
  });
  const header = new TextEncoder().encode(
    JSON.stringify(
      Object.fromEntries(
        placed.map(({ name, shape, begin, end }) => [
          name,
          { dtype: 'BF16', shape, data_offsets: [begin, end] },
        ]),
      ),
    ),
  );
  const start = new Uint8Array(LENGTH_BYTES + header.length);
  new DataView(start.buffer).setBigUint64(0, BigInt(header.length), true);
  start.set(header, LENGTH_BYTES);
  return {
    label: 'random int4 weights',
    readFile: async (name) =>
      name === 'config.json' ? new TextEncoder().encode(JSON.stringify(config)) : undefined,
    readStart: async (name, maxBytes) =>
      name === FILE ? { bytes: start.subarray(0, maxBytes), size: start.length + end } : undefined,
    async *stream(_, ranges) {
      for (const range of ranges) {
        const [begin, end] = [range.begin - start.length, range.end - start.length];
        for (const tensor of placed) {
          if (tensor.end <= begin || tensor.begin >= end) continue;
          yield tensor
            .bytes()
            .subarray(Math.max(begin, tensor.begin) - tensor.begin, Math.min(end, tensor.end) - tensor.begin);
        }
      }
    },
  };
}
