/** @file What the comparison asks of each contender: the same model, the same tokens, greedy answers. Plain data, for it passes processes. */
import type { Config } from '../speed/shapes.ts';
import type { GpuCounts } from './gpu-counts.ts';

export type ContenderName = 'shaderloom' | 'onnxruntime-web' | 'wllama';

export interface ContenderOptions {
  config: Config;
  /** Tokens that the KV cache holds. */
  contextLength: number;
}

/** How a contender was started. */
export interface ContenderInfo {
  /** What is to be known about how it runs. */
  notes: string;
  /** Bytes of its weights and of its KV cache. */
  weightBytes: number;
  kvBytes: number;
  /** Whether its WebGPU calls are seen: not those of a worker. */
  isCounted: boolean;
}

export interface Contender extends ContenderInfo {
  /** Forgets all before, computes a prompt and gives the first token of the answer. */
  prefill(ids: readonly number[]): Promise<number>;
  /** The next tokens, one after the other. */
  decode(count: number): Promise<number[]>;
  /** The last row of a prompt's logits, where they can be had. */
  logits?(ids: readonly number[]): Promise<Float32Array>;
}

/** A prefill or an answer, seen from inside. */
export interface Part {
  milliseconds: number;
  tokens: number[];
  counts: GpuCounts;
  /** Bytes of the contender's GPU buffers at the end. */
  liveBytes: number;
}

/** Where contenders run: a process for each, or a page for all. */
export interface ContenderHost {
  start(name: ContenderName, options: ContenderOptions): Promise<ContenderInfo>;
  prefill(name: ContenderName, ids: readonly number[]): Promise<Part>;
  decode(name: ContenderName, count: number): Promise<Part>;
  logits(name: ContenderName, ids: readonly number[]): Promise<number[] | undefined>;
}
