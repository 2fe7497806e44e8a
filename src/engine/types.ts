/** @file The types that apps see: options, deltas and results of loading, generating and chatting. No behaviour. */
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';

export interface LoadProgress {
  /** `config`: small files and headers; `weights`: shards stream to the GPU; `compile`: kernels; `ready`. */
  phase: 'config' | 'weights' | 'compile' | 'ready';
  loadedBytes: number;
  totalBytes: number;
  loadedTensors: number;
  totalTensors: number;
  /** Undefined until a rate is known. */
  secondsLeft: number | undefined;
}

/** One table of flags for looking inside; see CONTRIBUTING.md. Pages read the same names from the URL query. */
export interface DebugFlags {
  /** Print the plan (`plan`) or the assembled WGSL of every kernel (`wgsl`). */
  print?: ('plan' | 'wgsl')[];
  /** Give every tensor its own buffer. */
  reuse?: boolean;
  /** Record without fusion rules. */
  fuse?: boolean;
  /** Submit op by op. */
  eager?: boolean;
  /** Timestamps per op. */
  profile?: boolean;
  /** Force a kernel variant by op kind, e.g. `{ linear: 'tile' }`. */
  kernel?: Record<string, string>;
  /** Leave out a feature that the adapter has. */
  subgroups?: boolean;
  f16?: boolean;
}

export interface LoadOptions {
  /** Tokens of the KV cache, allocated once. Default: the model's own limit, at most 4,096. */
  contextLength?: number;
  /** `auto`: f16 KV cache and f16 tiles where the device has them; `f32`: everything in f32. */
  precision?: 'auto' | 'f32';
  /** Rows of one prefill pass. */
  prefillRows?: number;
  /** A WebGPU entry point when `navigator.gpu` is not the one to use (Node). */
  gpu?: GPU;
  onProgress?: (progress: LoadProgress) => void;
  signal?: AbortSignal;
  debug?: DebugFlags;
}

/** What to sample from; every default is the checkpoint's generation_config.json, then the value named here. */
export interface SamplingOptions {
  /** 0 is greedy. Default 1, or 0 when generation_config.json says `do_sample: false`. */
  temperature?: number;
  /** 0 is off. Default 0. */
  topK?: number;
  /** 1 is off. Default 1. */
  topP?: number;
  /** 0 is off. Default 0. */
  minP?: number;
  /** Default 1. */
  repetitionPenalty?: number;
  /** Default 0. */
  presencePenalty?: number;
  /** Default 0. */
  frequencyPenalty?: number;
  /** Added to the logits of token ids. */
  logitBias?: Readonly<Record<number, number>>;
  /** The same seed gives the same text. Default: random. */
  seed?: number;
}

/** Every sampling setting of a checkpoint, for pages that show them. */
export interface SamplingDefaults extends Required<Omit<SamplingOptions, 'logitBias' | 'seed'>> {
  /** Undefined: the rest of the context. */
  maxTokens: number | undefined;
}

export interface GenerateOptions extends SamplingOptions {
  /** Default: what generation_config.json says, else the rest of the context. */
  maxTokens?: number;
  /** Texts that end the answer; they are not part of it. */
  stop?: string | readonly string[];
  /** Token ids that end the answer. Default: `eos_token_id` of generation_config.json and config.json. */
  stopTokens?: readonly number[];
  signal?: AbortSignal;
}

export type FinishReason = 'stop' | 'length' | 'abort';

export interface Usage {
  promptTokens: number;
  /** Prompt tokens whose KV was already in the cache. */
  cachedTokens: number;
  completionTokens: number;
  reasoningTokens: number;
}

export interface Timings {
  /** Milliseconds from the call to the first token. */
  timeToFirstToken: number;
  prefillTokensPerSecond: number;
  decodeTokensPerSecond: number;
}

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

export interface ModelInfo {
  architecture: string;
  contextLength: number;
  weightBytes: number;
  kvBytes: number;
  activationBytes: number;
  dispatchesPerToken: number;
  /** What the template can do; a toggle for thinking belongs in the page only when it is `true`. */
  canToggleThinking: boolean;
  /** What an answer is sampled with when an option is not given: generation_config.json, then the types' defaults. */
  samplingDefaults: SamplingDefaults;
  adapter: { vendor: string; architecture: string; description: string; isFallback: boolean };
  /** GPU features in use: 'subgroups', 'f16'. */
  features: string[];
}

/** A loaded model. One generation runs at a time; a second call waits for the first to end. */
export interface Model {
  readonly info: ModelInfo;
  readonly tokenizer: Tokenizer;
  /** Settles when the device is lost; the model is unusable then. */
  readonly lost: Promise<Error>;
  /** Tokens after `ids`, one by one; the generator's return value is the result. */
  generate(ids: ArrayLike<number>, options?: GenerateOptions): AsyncGenerator<GeneratedToken, GenerateResult>;
  chat(messages: readonly ChatMessage[], options?: ChatOptions): ChatStream;
  /** Releases all GPU memory; running generations end. */
  dispose(): void;
}
