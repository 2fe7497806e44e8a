/** @file The types that apps see of a loaded model: generated tokens, chat messages, deltas and results. No behaviour. */
import type { Tokenizer } from '../../tokenizer/index.ts';
import type { Inspected } from '../engine/session.ts';
import type { FinishReason, GenerateOptions, ModelInfo, Timings, Usage } from '../engine/types.ts';

export interface GeneratedToken {
  id: number;
  /** Text that this token completes; may be empty while a character or a stop text is incomplete. */
  text: string;
}

export interface GenerateResult {
  ids: number[];
  text: string;
  finishReason: FinishReason;
  usage: Usage;
  timings: Timings;
}

/** Messages as in the OpenAI API; `reasoning_content` carries the thinking of an earlier answer. */
export interface ChatMessage {
  role: string;
  content?: unknown;
  reasoning_content?: string;
  tool_calls?: unknown;
  [key: string]: unknown;
}

export interface ChatOptions extends GenerateOptions {
  tools?: readonly unknown[];
  /** Passed to the template as `enable_thinking`. Default: the template's own (true for Qwen3). */
  enableThinking?: boolean;
  /** Any other argument of the template. */
  templateArgs?: Readonly<Record<string, unknown>>;
  /** Go on with the last message instead of answering it. */
  continueFinalMessage?: boolean;
}

/** A piece of an answer: one of the two is set. */
export interface ChatDelta {
  reasoning?: string;
  content?: string;
}

export interface ChatResult {
  message: { role: 'assistant'; content: string; reasoning_content: string };
  finishReason: FinishReason;
  usage: Usage;
  timings: Timings;
}

/** Deltas as they come; `result` settles when the answer has ended (also after abort). Iterate once. */
export interface ChatStream extends AsyncIterable<ChatDelta> {
  readonly result: Promise<ChatResult>;
}

/** What the checkpoint's chat template can do. */
export interface ChatInfo {
  /** A toggle for thinking belongs in a page only when the template reads `enable_thinking`. */
  canToggleThinking: boolean;
}

/** A loaded model. One generation runs at a time; a second call waits for the first to end. */
export interface Model {
  readonly info: ModelInfo & ChatInfo;
  readonly tokenizer: Tokenizer;
  /** Settles when the device is lost; the model is unusable then. */
  readonly lost: Promise<Error>;
  /** Tokens after `ids`, one by one; the generator's return value is the result. */
  generate(ids: ArrayLike<number>, options?: GenerateOptions): AsyncGenerator<GeneratedToken, GenerateResult>;
  chat(messages: readonly ChatMessage[], options?: ChatOptions): ChatStream;
  /**
   * Values of named tensors at every position of `ids`, for looking inside: `model.embed_tokens`, `model.layers.0`,
   * `model.layers.3.self_attn.o_proj`, `model.norm`, `lm_head` ... Computed anew, `rows` positions a step.
   */
  inspect(
    ids: ArrayLike<number>,
    names: readonly string[],
    options?: { rows?: number },
  ): Promise<Map<string, Inspected>>;
  /** Releases all GPU memory; running generations end. */
  dispose(): void;
}
