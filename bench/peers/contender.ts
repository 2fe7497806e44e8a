/** @file What the comparison asks of each contender: the same model, the same tokens, greedy answers. */
import type { Config } from '../speed/shapes.ts';
import type { GpuCounts } from './gpu-counts.ts';

export type ContenderName = 'shaderloom' | 'onnxruntime-web' | 'wllama';

export interface Contender {
  /** What is to be known about how it runs. */
  notes: string;
  /** Bytes of packed weights that a token reads, and of the KV cache. */
  weightBytes: number;
  kvBytes: number;
  /** Forgets all before, computes a prompt and gives the first token of the answer. */
  prefill(ids: readonly number[]): Promise<number>;
  /** The next tokens, one after the other. */
  decode(count: number): Promise<number[]>;
  /** The last row of a prompt's logits, where they can be had. */
  logits?(ids: readonly number[]): Promise<Float32Array>;
  dispose(): Promise<void>;
}

export interface ContenderOptions {
  config: Config;
  /** Tokens that the KV cache holds. */
  contextLength: number;
  /** Where it is not `navigator.gpu`. */
  gpu?: GPU | undefined;
}

/** A part of a run, seen from inside. */
export interface PartResult {
  milliseconds: number;
  tokens: number[];
  counts: GpuCounts;
}
