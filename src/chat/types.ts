/** @file The types that apps see of a loaded model: generated tokens, chat messages, deltas and results. No behaviour. */
import type { Tokenizer } from '../../tokenizer/index.ts';
import type { ResponseFormat } from '../constrain/index.ts';
import type { Inspected } from '../runtime/generate/session.ts';
import type {
  FinishReason,
  GenerateOptions,
  IdLogprob,
  ModelInfo,
  Timings,
  Usage,
} from '../runtime/types.ts';

export interface GeneratedToken {
  id: number;
  /** The text that this token completes; may be empty while a character or a stop text is incomplete. */
  text: string;
  /** With `logprobs`; absent for tokens that the model did not choose (the sentence that ends thinking at its budget). */
  logprob?: number;
  /** The likeliest tokens in its place, the likeliest first; among equals the lowest id first. */
  topLogprobs?: readonly IdLogprob[];
}

/** A token with its text. For part of a character, `text` has a replacement character, and `bytes` are exact. */
export interface TextLogprob extends IdLogprob {
  text: string;
  bytes: readonly number[];
}

/** A token of the answer's content, and the likeliest tokens in its place, in the order of `GeneratedToken`. */
export interface TokenLogprob extends TextLogprob {
  top: readonly TextLogprob[];
}

export interface GenerateResult {
  ids: number[];
  text: string;
  finishReason: FinishReason;
  usage: Usage;
  timings: Timings;
}

/** A function that the model may call, as in the OpenAI API. */
export interface ToolDefinition {
  type: 'function';
  function: {
    name: string;
    description?: string;
    /** The JSON schema of its arguments, an object. */
    parameters?: Readonly<Record<string, unknown>>;
    /** The model can only write arguments that match the schema. Default: false. */
    strict?: boolean;
  };
}

export interface ToolCall {
  id: string;
  type: 'function';
  /** `arguments` is the text of a JSON object. */
  function: { name: string; arguments: string };
}

/** The first piece of a call has its id and name, later ones have more of the arguments. */
export interface ToolCallDelta {
  index: number;
  id?: string;
  type: 'function';
  function: { name?: string; arguments: string };
}

/**
 * Messages as in the OpenAI API; `reasoning_content` carries the thinking of an earlier answer. A message of the role `tool` is
 * the result of a call, and comes after the answer that has the call in `tool_calls`.
 */
export interface ChatMessage {
  role: string;
  content?: unknown;
  reasoning_content?: string;
  tool_calls?: unknown;
  [key: string]: unknown;
}

export interface ChatOptions extends GenerateOptions {
  /** Functions that the model may call. The caller runs them and gives the results as messages, or `runTools` does. */
  tools?: readonly ToolDefinition[];
  /** The answer is only calls: of any tools, or of this one. Default: the model decides. */
  toolChoice?: 'required' | { readonly name: string };
  /** False: the answer ends with its first call. */
  parallelToolCalls?: boolean;
  /** Passed to the template as `enable_thinking`. Default: the template's own (true for Qwen3). */
  enableThinking?: boolean;
  /**
   * The number of reasoning tokens after which thinking is ended, with a sentence that makes the model answer; the sentence counts
   * in the usage. 0: no thinking. Default: no limit.
   */
  thinkingBudget?: number;
  /**
   * What the answer's text must be: JSON, JSON of a schema, a pattern or a grammar. It does not hold for the thinking, nor for
   * tool calls, which may still begin the answer where `tools` are given.
   */
  responseFormat?: ResponseFormat;
  /** Any other argument of the template. */
  templateArgs?: Readonly<Record<string, unknown>>;
  /** The model continues the last message instead of answering it. */
  continueFinalMessage?: boolean;
}

/** A piece of an answer: one of `reasoning`, `content` and `toolCalls` is set. */
export interface ChatDelta {
  reasoning?: string;
  content?: string;
  toolCalls?: ToolCallDelta[];
  /** With the option `logprobs`: the tokens that `content` came from. */
  logprobs?: readonly TokenLogprob[];
  /** The content is the text of a malformed tool call. */
  malformed?: true;
  /** The index of that call, if pieces of it were given out already: forget those. */
  droppedCall?: number;
}

/** An answer. It can go into the messages of the next question as it is. */
export type AssistantMessage = {
  role: 'assistant';
  content: string;
  reasoning_content: string;
  tool_calls?: ToolCall[];
  /** A tool call is malformed and was left in `content`. */
  malformed?: true;
};

export interface ChatResult {
  message: AssistantMessage;
  /** `tool_calls`: the answer is complete and has calls. */
  finishReason: FinishReason | 'tool_calls';
  usage: Usage;
  timings: Timings;
}

/** Deltas as they come; `result` settles when the answer has ended (also after abort). Iterate once. */
export interface ChatStream extends AsyncIterable<ChatDelta> {
  readonly result: Promise<ChatResult>;
}

export interface ScoreOptions {
  /** Tell at every place so many of the likeliest tokens, 0 to 20. Default: none, and no `topLogprobs`. */
  logprobs?: number;
  signal?: AbortSignal;
}

/** A token of a prompt, and how likely the model thought it after those before it. */
export interface ScoredToken {
  id: number;
  /**
   * The natural logarithm of its probability: the softmax of the model's own logits over the whole vocabulary. Undefined for the first token,
   * before which there is nothing.
   */
  logprob: number | undefined;
  /** 1: no token was likelier. Undefined for the first token. */
  rank: number | undefined;
  /** With the option `logprobs`, of every token but the first: what else might have come, the likeliest first. */
  topLogprobs?: readonly IdLogprob[];
}

/** Texts, or token ids as they are: one or several. */
export type EmbedInput = string | ArrayLike<number> | readonly string[] | readonly ArrayLike<number>[];

/** What reading prompts took. */
export type ReadUsage = Pick<Usage, 'promptTokens' | 'cachedTokens'>;

interface ReadOptions {
  /** Numbers of any model, also of one that was not made for this: they mean little then. Default: false. */
  anyModel?: boolean;
  signal?: AbortSignal;
}

export interface EmbedOptions extends ReadOptions {
  /** What the texts are searched for, in a sentence: for queries. Documents have none. */
  instruction?: string;
  /** The first so many values of each vector, at most the model's hidden size. Default: all. */
  dimensions?: number;
}

export interface EmbedResult {
  /** One for each text, in their order; of length 1, so that a dot product is the cosine. */
  embeddings: Float32Array[];
  usage: ReadUsage;
}

export interface RerankOptions extends ReadOptions {
  /** What makes a document a good one, in a sentence. Default: that of a web search. */
  instruction?: string;
}

export interface RerankResult {
  /** All documents by their place in the list, the best first; the score is the probability of "yes" against "no", 0 to 1. */
  results: { index: number; score: number }[];
  usage: ReadUsage;
}

/** What the checkpoint's chat template can do. */
export interface ChatInfo {
  /** The template reads `enable_thinking`: only then does a page need a switch for thinking. */
  canToggleThinking: boolean;
}

/**
 * A loaded model. Up to `conversations` (an option of loading) generations run at a time; further calls wait for their turn, in the
 * order in which they came.
 */
export interface Model {
  readonly info: ModelInfo & ChatInfo;
  readonly tokenizer: Tokenizer;
  /** Settles when the device is lost; the model is unusable then. */
  readonly lost: Promise<Error>;
  /** Tokens after `ids`, one by one; the generator's return value is the result. */
  generate(ids: ArrayLike<number>, options?: GenerateOptions): AsyncGenerator<GeneratedToken, GenerateResult>;
  chat(messages: readonly ChatMessage[], options?: ChatOptions): ChatStream;
  /**
   * How likely every token of `ids` is after those before it: a result for each id, in their order. All positions are computed, in chunks
   * that take turns with those of other prompts and hold up running answers no more than a prompt does; what is computed stays in the cache,
   * for a generation that begins so. Logits are there of a few rows at a time.
   * @throws InvalidInputError, ContextLengthError, NumericalError where logits are no numbers, the signal's reason when it is aborted
   */
  score(ids: ArrayLike<number>, options?: ScoreOptions): Promise<ScoredToken[]>;
  /**
   * Vectors of texts, of a model made for that (Qwen3-Embedding): the final norm at the last token, which the tokenizer puts behind each
   * text, cut to `dimensions` and made 1 long. Token ids are taken as they are. Some texts run at a time, whose chunks take turns with
   * those of all other prompts; others wait until they have a turn, and so does no answer.
   * @throws InvalidInputError, also for another model without `anyModel`; ContextLengthError; NumericalError where a vector is no numbers;
   * UnsupportedConfigError where the checkpoint makes vectors in another way; the signal's reason when it is aborted
   */
  embed(input: EmbedInput, options?: EmbedOptions): Promise<EmbedResult>;
  /**
   * How well documents answer a query, of a model made for that (Qwen3-Reranker). They run like the texts of `embed`, and what all prompts
   * have in common is computed once. It throws the same.
   */
  rerank(query: string, documents: readonly string[], options?: RerankOptions): Promise<RerankResult>;
  /**
   * Values of named tensors at every position of `ids`, for inspection: `model.embed_tokens`, `model.layers.0`,
   * `model.layers.3.self_attn.o_proj`, `model.norm`, `lm_head` ... Everything is computed again, `rows` positions a step.
   */
  inspect(
    ids: ArrayLike<number>,
    names: readonly string[],
    options?: { rows?: number },
  ): Promise<Map<string, Inspected>>;
  /** Releases all GPU memory; running generations end. */
  dispose(): void;
}
