/** @file What a model family is. Families are pure: shapes, names and ops; no kernel, no weight format, no device. */
import type { Graph, Tensor } from '../graph/graph.ts';
import type { KvFormat } from '../graph/ops/cache.ts';
import type { RopeScaling } from '../graph/rope.ts';
import type { Weights } from '../graph/weight.ts';

/** What the engine needs to know of any model. */
export interface ModelConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly numHiddenLayers: number;
  readonly maxPositionEmbeddings: number;
  readonly rope: RopeScaling;
  /** Windows that some layers see, as kernels know them by; undefined stands for layers that see every position. */
  readonly windows: readonly (number | undefined)[];
  /** Modules behind the last layer that predict the token after next (MTP), as `draft` of the family runs them. */
  readonly numNextnPredictLayers?: number;
}

/** What a family records into. */
export interface Recording {
  readonly graph: Graph;
  /** Rows of a pass. */
  readonly rows: number;
  /** Sequences that they belong to, at most. */
  readonly sequences: number;
  readonly kvFormat: KvFormat;
  /** Logits of each sequence's last row, or of every row; `none`: the final norm of every row instead of logits. */
  readonly logits: 'last' | 'all' | 'none';
  /** Rotary tables of the rows, f32 [rows, rotated values per head]. */
  readonly angles: Tensor;
  /** A session tensor f32 [rows, hidden_size]: the final norm of every row goes there, where `draft` reads it. */
  readonly hidden?: Tensor;
  /** f32 [rows, hidden_size] as the last layer has left it: only the final norm and the head are recorded. */
  readonly stream?: Tensor;
}

export interface ModelFamily<Config extends ModelConfig = ModelConfig> {
  /** The strings of `architectures` in config.json that this family answers to. */
  readonly architectures: readonly string[];
  /** The `model_type` of config.json, for files that name no architecture. */
  readonly modelType: string;
  /** Reads config.json. @throws UnsupportedConfigError */
  readonly config: (json: Readonly<Record<string, unknown>>) => Config;
  /** Records the forward pass: the tokens of the batch's rows -> logits f32 [rows or sequences, vocab_size], or what `into.logits` says. */
  readonly forward: (w: Weights, config: Config, into: Recording) => Tensor;
  /**
   * Records the checkpoint's own module that predicts the token after next, of families whose config may have one:
   * hidden f32 [rows, hidden_size] as `forward` left it in `into.hidden`, and as the batch's tokens the one that follows each row
   * -> logits f32 [rows or sequences, vocab_size] of the token after that. It has a KV cache of its own at the same positions.
   */
  readonly draft?: (hidden: Tensor, w: Weights, config: Config, into: Recording) => Tensor;
}

/** A family whose config type is its own affair. */
export function defineModel<Config extends ModelConfig>(family: ModelFamily<Config>): ModelFamily {
  return family as unknown as ModelFamily;
}

/** Gives a tensor the name under which it is dumped and compared: the checkpoint's module whose output it is. */
export function named(tensor: Tensor, name: string): Tensor {
  tensor.name = name;
  return tensor;
}
