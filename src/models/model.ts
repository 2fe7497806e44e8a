/** @file What a model family is. Families are pure: shapes, names and ops; no kernel, no weight format, no device. */
import type { Tensor } from '../graph/graph.ts';
import type { RopeScaling } from '../graph/rope.ts';
import type { Weights } from '../graph/weight.ts';

/** What the engine needs to know of any model. */
export interface ModelConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly numHiddenLayers: number;
  readonly maxPositionEmbeddings: number;
  readonly rope: RopeScaling;
  /** Modules behind the last layer that predict the token after next (MTP), as `draft` of the family runs them. */
  readonly numNextnPredictLayers?: number;
}

/** What a recording is for. */
export interface Run {
  /** Positions of the KV cache. */
  readonly capacity: number;
  readonly kvDtype: 'f16' | 'f32';
  /** Logits of the step's last row, or of every row. */
  readonly logits: 'last' | 'all';
  /** Rotary tables of the step's rows, f32 [rows, rotated values per head]. */
  readonly angles: Tensor;
  /** A session tensor f32 [rows, hidden_size]: the final norm of every row goes there, where `draft` reads it. */
  readonly hidden?: Tensor;
}

export interface ModelFamily<Config extends ModelConfig = ModelConfig> {
  /** The strings of `architectures` in config.json that this family answers to. */
  readonly architectures: readonly string[];
  /** Reads config.json. @throws UnsupportedConfigError */
  readonly config: (json: Readonly<Record<string, unknown>>) => Config;
  /** Records the forward pass: tokens u32 [rows] -> logits f32 [rows or 1, vocab_size]. */
  readonly forward: (tokens: Tensor, w: Weights, config: Config, run: Run) => Tensor;
  /**
   * Records the checkpoint's own module that predicts the token after next, of families whose config may have one:
   * hidden f32 [rows, hidden_size] as `forward` left it in `run.hidden`, tokens u32 [rows] the token that follows each row
   * -> logits f32 [rows or 1, vocab_size] of the token behind that. It has a KV cache of its own at the same positions.
   */
  readonly draft?: (tokens: Tensor, hidden: Tensor, w: Weights, config: Config, run: Run) => Tensor;
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
