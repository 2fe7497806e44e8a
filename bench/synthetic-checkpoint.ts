/**
 * @file Writes a sharded checkpoint of random bfloat16 in the shape of a Qwen3, of any size: what loading is measured with.
 * The same seed gives the same bytes. It must not know who loads it.
 */
import { copyFile, mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { seededRandom } from './mixed-text.ts';
import { normalBlock } from './random-checkpoint.ts';

export interface SyntheticOptions {
  /** The weights have at least so many bytes, and less than a layer more. */
  bytes: number;
  seed?: number;
}

export interface SyntheticCheckpoint {
  /** Bytes of all tensors. */
  weightBytes: number;
  largestTensorBytes: number;
  numTensors: number;
  /** Names of the files that hold weights. */
  shards: string[];
}

interface Tensor {
  name: string;
  shape: number[];
}

const NUM_SHARDS = 5;
const TOKENIZER = join(import.meta.dirname, '../examples/models/tiny-qwen3');
/** Sizes of models of whole GiB (an embedding of 622 MB), and of small ones for tests. */
const LARGE = { hidden: 2048, intermediate: 16384, heads: 16, kvHeads: 8, headDim: 128, vocab: 151_936 };
const SMALL = { hidden: 256, intermediate: 1536, heads: 4, kvHeads: 2, headDim: 64, vocab: 8192 };
type Sizes = typeof LARGE;

/** Bytes that are written again and again, from another place for each tensor. */
interface Values {
  matrix: Uint8Array;
  vector: Uint8Array;
}

/** Writes config, tokenizer, index and shards into a folder, which is made when it is not there. */
export async function writeSyntheticCheckpoint(
  directory: string,
  { bytes, seed = 1 }: SyntheticOptions,
): Promise<SyntheticCheckpoint> {
  const sizes = bytes < 1 << 30 ? SMALL : LARGE;
  const tensors = tensorsOf(sizes, bytes);
  const weightBytes = sum(tensors.map(bytesOf));
  await mkdir(directory, { recursive: true });
  const random = seededRandom(seed);
  const values: Values = { matrix: normalBlock(0, 0.02), vector: normalBlock(1, 0.1) };
  const groups = intoShards(tensors, weightBytes / NUM_SHARDS);
  const shards = groups.map(
    (_, i) => `model-${fiveDigits(i + 1)}-of-${fiveDigits(groups.length)}.safetensors`,
  );
  for (const [i, group] of groups.entries()) {
    await writeShard(join(directory, shards[i]!), group, values, random);
  }
  const entries = groups.flatMap((group, i) => group.map(({ name }) => [name, shards[i]!]));
  const numLayers = tensors.filter(({ name }) => name.endsWith('.down_proj.weight')).length;
  const files = {
    'model.safetensors.index.json': {
      metadata: { total_size: weightBytes },
      weight_map: Object.fromEntries(entries),
    },
    'config.json': configOf(sizes, numLayers),
  };
  for (const [name, json] of Object.entries(files))
    await writeFile(join(directory, name), JSON.stringify(json));
  for (const name of ['tokenizer.json', 'tokenizer_config.json'])
    await copyFile(join(TOKENIZER, name), join(directory, name));
  return {
    weightBytes,
    largestTensorBytes: Math.max(...tensors.map(bytesOf)),
    numTensors: tensors.length,
    shards,
  };
}

function tensorsOf({ hidden, intermediate, heads, kvHeads, headDim, vocab }: Sizes, bytes: number): Tensor[] {
  const list: Tensor[] = [
    { name: 'model.embed_tokens.weight', shape: [vocab, hidden] },
    { name: 'model.norm.weight', shape: [hidden] },
  ];
  let total = sum(list.map(bytesOf));
  for (let layer = 0; layer === 0 || total < bytes; layer++) {
    const layerTensors = Object.entries({
      input_layernorm: [hidden],
      'mlp.down_proj': [hidden, intermediate],
      'mlp.gate_proj': [intermediate, hidden],
      'mlp.up_proj': [intermediate, hidden],
      post_attention_layernorm: [hidden],
      'self_attn.k_norm': [headDim],
      'self_attn.k_proj': [kvHeads * headDim, hidden],
      'self_attn.o_proj': [hidden, heads * headDim],
      'self_attn.q_norm': [headDim],
      'self_attn.q_proj': [heads * headDim, hidden],
      'self_attn.v_proj': [kvHeads * headDim, hidden],
    }).map(([name, shape]) => ({ name: `model.layers.${layer}.${name}.weight`, shape }));
    total += sum(layerTensors.map(bytesOf));
    list.push(...layerTensors);
  }
  return list;
}

const configOf = (sizes: Sizes, numLayers: number): object => ({
  architectures: ['Qwen3ForCausalLM'],
  model_type: 'qwen3',
  torch_dtype: 'bfloat16',
  hidden_act: 'silu',
  hidden_size: sizes.hidden,
  intermediate_size: sizes.intermediate,
  num_hidden_layers: numLayers,
  num_attention_heads: sizes.heads,
  num_key_value_heads: sizes.kvHeads,
  head_dim: sizes.headDim,
  max_position_embeddings: 4096,
  rms_norm_eps: 1e-6,
  rope_theta: 1e6,
  tie_word_embeddings: true,
  vocab_size: sizes.vocab,
});

/** Groups of neighbours that have about `shardBytes` each. */
function intoShards(tensors: readonly Tensor[], shardBytes: number): Tensor[][] {
  const groups: Tensor[][] = [[]];
  let filled = 0;
  for (const tensor of tensors) {
    if (filled >= shardBytes) {
      groups.push([]);
      filled = 0;
    }
    groups.at(-1)!.push(tensor);
    filled += bytesOf(tensor);
  }
  return groups;
}

async function writeShard(
  path: string,
  tensors: readonly Tensor[],
  { matrix, vector }: Values,
  random: () => number,
): Promise<void> {
  let end = 0;
  const header: Record<string, object> = { __metadata__: { format: 'pt' } };
  for (const tensor of tensors) {
    const begin = end;
    end += bytesOf(tensor);
    header[tensor.name] = { dtype: 'BF16', shape: tensor.shape, data_offsets: [begin, end] };
  }
  const text = JSON.stringify(header);
  const json = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const file = await open(path, 'w');
  try {
    await file.write(length);
    await file.write(json);
    for (const tensor of tensors) {
      const block = tensor.shape.length === 1 ? vector : matrix;
      let at = 2 * Math.floor((random() * block.length) / 2);
      for (let left = bytesOf(tensor); left > 0; ) {
        const piece = block.subarray(at, at + left);
        await file.write(piece);
        left -= piece.length;
        at = (at + piece.length) % block.length;
      }
    }
  } finally {
    await file.close();
  }
}

const bytesOf = ({ shape }: Tensor): number => 2 * shape.reduce((a, b) => a * b, 1);
const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const fiveDigits = (n: number): string => String(n).padStart(5, '0');
