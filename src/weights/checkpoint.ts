/**
 * @file A checkpoint folder as Hugging Face publishes it: config.json, generation_config.json and one or many
 * safetensors files -> a manifest of tensors. It must not know models, weight formats or the GPU.
 */
import type { StoredTensor } from './safetensors.ts';
import type { ReadOptions, Source } from './source.ts';

/** One tensor of a checkpoint: where its bytes are and what they mean. */
export interface TensorEntry extends StoredTensor {
  /** Name of its file in the source. */
  file: string;
}

export interface Checkpoint {
  source: Source;
  /** config.json. */
  config: Record<string, unknown>;
  /** generation_config.json; empty when there is none. */
  generationConfig: Record<string, unknown>;
  /** Every tensor by name, in the order of files and, within a file, of bytes. */
  tensors: Map<string, TensorEntry>;
  /** Bytes of all tensors. */
  totalBytes: number;
}

/** Some bytes of a tensor. */
export interface TensorChunk {
  tensor: TensorEntry;
  /** Where `bytes` starts within the tensor. */
  offset: number;
  /** Valid only until the next chunk is asked for. */
  bytes: Uint8Array;
}

/**
 * Streams the bytes of some tensors in file order, whatever order they are given in: each file once, each tensor's
 * bytes in order and complete. A tensor without elements gives no chunk. For several files at once, call it once per file.
 */
export async function* streamTensors(
  source: Source,
  tensors: Iterable<TensorEntry>,
  options: ReadOptions = {},
): AsyncGenerator<TensorChunk, void, undefined> {
  const byFile = new Map<string, TensorEntry[]>();
  for (const tensor of tensors) {
    const group = byFile.get(tensor.file);
    if (group) group.push(tensor);
    else byFile.set(tensor.file, [tensor]);
  }
  for (const [file, group] of byFile) {
    const ranges = group.filter((tensor) => tensor.end > tensor.begin).sort((a, b) => a.begin - b.begin);
    let index = 0;
    let offset = 0;
    for await (const bytes of source.stream(file, ranges, options)) {
      const tensor = ranges[index]!;
      yield { tensor, offset, bytes };
      offset += bytes.length;
      if (tensor.begin + offset === tensor.end) {
        index += 1;
        offset = 0;
      }
    }
  }
}
