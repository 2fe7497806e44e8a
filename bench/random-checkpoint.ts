/**
 * @file A checkpoint of any supported family with random bfloat16 weights, made while it is read: benchmarks of real sizes without
 * files. Works in Node and in pages.
 */

import type { Source } from '../src/index.ts';
import { estimate } from '../src/runtime/load/estimate.ts';
import { uniformResolver } from '../src/weights/resolve.ts';

export interface RandomCheckpoint {
  /** config.json as on Hugging Face. */
  config: Readonly<Record<string, unknown>>;
  /** Other files: tokenizer.json and so on. */
  files?: Readonly<Record<string, Uint8Array>>;
}

const FILE = 'model.safetensors';
const LENGTH_BYTES = 8;
/** Twice a prime: no row length of a model divides it, so that no two rows are alike. */
const BLOCK_BYTES = 2 * 1_048_583;

interface RandomTensor {
  name: string;
  shape: number[];
  begin: number;
  end: number;
}

/** The tensors that the family of a config reads. */
function tensorsOf(config: Readonly<Record<string, unknown>>): RandomTensor[] {
  const { decode } = estimate(config, uniformResolver('bf16'), {
    capacity: 16,
    prefillRows: 2,
    kvFormat: 'f16',
    maxBindingBytes: 2 ** 31,
  });
  let end = 0;
  return [...decode.graph.weights.values()].flatMap(({ names, rowsOf, cols, isVector }) =>
    names.map((name, i) => {
      const shape = isVector ? [rowsOf[i]!] : [rowsOf[i]!, cols];
      const begin = end;
      end += 2 * shape.reduce((a, b) => a * b, 1);
      return { name, shape, begin, end };
    }),
  );
}

/** bfloat16 of a normal distribution, by the upper halves of float32. */
export function normalBlock(mean: number, deviation: number): Uint8Array {
  const block = new Uint16Array(BLOCK_BYTES / 2);
  const float = new Float32Array(1);
  const bits = new Uint32Array(float.buffer);
  let state = 1;
  const random = (): number => {
    // xorshift32
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  for (let i = 0; i < block.length; i++) {
    const radius = Math.sqrt(-2 * Math.log(1 - random()));
    float[0] = mean + deviation * radius * Math.cos(2 * Math.PI * random());
    block[i] = bits[0]! >>> 16;
  }
  return new Uint8Array(block.buffer);
}

/** A source of random weights: vectors around 1, matrices with standard deviation 0.02. */
export function randomSource({ config, files = {} }: RandomCheckpoint): Source {
  const tensors = tensorsOf(config);
  const matrix = normalBlock(0, 0.02);
  const vector = normalBlock(1, 0.1);
  const header = new TextEncoder().encode(
    JSON.stringify(
      Object.fromEntries(
        tensors.map(({ name, shape, begin, end }) => [
          name,
          { dtype: 'BF16', shape, data_offsets: [begin, end] },
        ]),
      ),
    ),
  );
  const start = new Uint8Array(LENGTH_BYTES + header.length);
  new DataView(start.buffer).setBigUint64(0, BigInt(header.length), true);
  start.set(header, LENGTH_BYTES);
  const tensorAt = new Map(tensors.map((tensor) => [start.length + tensor.begin, tensor]));
  const small: Readonly<Record<string, Uint8Array>> = {
    ...files,
    'config.json': new TextEncoder().encode(JSON.stringify(config)),
  };
  return {
    label: 'random weights',
    async readFile(name) {
      return small[name];
    },
    async readStart(name, maxBytes) {
      if (name !== FILE) return undefined;
      return { bytes: start.subarray(0, maxBytes), size: start.length + (tensors.at(-1)?.end ?? 0) };
    },
    async *stream(_, ranges) {
      for (const { begin, end } of ranges) {
        const block = tensorAt.get(begin)!.shape.length === 1 ? vector : matrix;
        for (let position = begin; position < end; ) {
          const at = (position - start.length) % BLOCK_BYTES;
          const chunk = block.subarray(at, Math.min(BLOCK_BYTES, at + end - position));
          position += chunk.length;
          yield chunk;
        }
      }
    },
  };
}
