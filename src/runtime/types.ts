/** @file The types that apps see of loading and generating: options, usage, what a model is. No behaviour. */

import type { HubOptions } from '../sources/hub.ts';
import type { Store } from '../store/types.ts';
import type { ConversionError } from '../weights/convert.ts';
import type { LoadReport } from '../weights/load-gauge.ts';
import type { WantedFormat } from '../weights/resolve.ts';

export type { HubOptions } from '../sources/hub.ts';
export type { ConversionError } from '../weights/convert.ts';
export type { LoadReport } from '../weights/load-gauge.ts';
export type { WantedFormat } from '../weights/resolve.ts';

export interface LoadProgress {
  /**
   * `config`: small files and headers; `fit`: the GPU is asked for memory (a page that holds another model may release it now);
   * `download`: shards come into the store, if there is one and they are not there yet; `weights`: shards stream to the GPU;
   * `compile`: kernels, and whether they compute rightly here; `tune`: which are the fastest, where that is not known yet (at most
   * 3 seconds, not on software adapters); `ready`.
   */
  phase: 'config' | 'fit' | 'download' | 'weights' | 'compile' | 'tune' | 'ready';
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
  /** False: kernels are not tried on known answers. */
  selfTest?: boolean;
  /** Whether variants of kernels are measured. Default: on GPUs, not on software adapters. */
  tune?: boolean;
}

/**
 * Who guesses tokens that one step then verifies together: the checkpoint's own module for the token after next (`mtp`), or
 * the prompt and the answer so far where they repeat themselves (`lookup`).
 */
export type Speculation = 'mtp' | 'lookup';

/** What weights are on the GPU: as the checkpoint has them, or what `LoadOptions.weights` makes of them. */
export type LoadedFormat = 'published' | WantedFormat;

/** What can be loaded: give it to `loadModel` as it is. */
export interface FitChoice {
  weights: LoadedFormat;
  contextLength: number;
  /** Where more was asked for than `contextLength`. */
  cacheTokens?: number;
}

/** Whether a model fits, and what would. Bytes everywhere. */
export interface Fit {
  /** The GPU has room for what was asked for; with `weights: 'auto'` for one of the formats. */
  fits: boolean;
  /** Why not, in sentences with numbers; empty when it fits. */
  reasons: readonly string[];
  /**
   * What was asked for when that fits, else the largest format (the one asked for, then int8, then int4) that fits with the
   * context asked for, else the smallest with the longest context that fits. Undefined: nothing does.
   */
  best: FitChoice | undefined;
  /** Of what was asked for; with `weights: 'auto'` of what is chosen, or when nothing fits of the checkpoint as published. */
  needed: FitNeeds;
  available: FitSpace;
}

/** What `checkFit` tells. */
export interface CheckedFit extends Fit {
  files: FitFiles;
}

/** What downloading a checkpoint and keeping it take. */
export interface FitFiles {
  /** What is read of the checkpoint's tensors. */
  downloadBytes: number;
  /** What keeping the whole checkpoint takes: files with tensors exactly, and 16 MiB for all others. */
  storeBytes: number;
  /** What the browser lets this origin store beside what it has; undefined where nobody says. */
  availableBytes: number | undefined;
}

export interface FitNeeds {
  /** All of the GPU's: the four below. */
  gpuBytes: number;
  weightBytes: number;
  kvBytes: number;
  activationBytes: number;
  /** The most that loading takes besides, and frees again. */
  stagingBytes: number;
}

export interface FitSpace {
  /** What the caller gave as `memoryBytes`. */
  memoryBytes: number | undefined;
  /**
   * What the GPU gave when it was asked for what `best` needs. Less than that is a fact; all of it means that nobody refused,
   * which systems that move GPU memory to the computer's own (Windows, macOS) seldom do. Undefined on software adapters, where
   * asking tells nothing or takes the memory for good.
   */
  probedBytes: number | undefined;
  /** The most that one buffer may have that kernels read. */
  bindingBytes: number;
}

export interface LoadOptions {
  /**
   * What matrices in 16 or 32 bits become on the GPU while they load; embeddings and the head get 8 bits with `int4` too, norms
   * and routers stay as they are, and so does everything of a quantised checkpoint. `auto`: as published if that fits the GPU,
   * else int8 if that does, else int4. Default: as published, so that a model gives the same answers everywhere.
   */
  weights?: LoadedFormat | 'auto';
  /** Bytes of GPU memory that the model may take. No browser tells how much there is; give it where you know. */
  memoryBytes?: number;
  /** Called once before weights are downloaded, also when the model does not fit and DeviceLimitError follows. */
  onFit?: (fit: Fit) => void;
  /** Tokens of a conversation, prompt and answer. Default: the model's own limit, at most 4,096. */
  contextLength?: number;
  /**
   * Tokens that the KV cache holds at most, of all conversations together: those that run, and those that ended and may be gone on with.
   * It takes memory as it is used. Default, and at least: `contextLength`.
   */
  cacheTokens?: number;
  /**
   * Answers that are generated side by side, 1 to 16; what comes beyond waits its turn. Company never changes an answer. What begins
   * as another did (a system prompt) is computed once. Default: 16.
   */
  maxSequences?: number;
  /** How keys and values are kept: int8 takes half the memory of f16, and costs a little accuracy. Default: f16, with `precision: 'f32'` f32. */
  kvFormat?: 'f32' | 'f16' | 'int8';
  /** `auto`: f16 KV cache and f16 tiles where the device has them; `f32`: everything in f32. */
  precision?: 'auto' | 'f32';
  /** Rows of one prefill pass. */
  prefillRows?: number;
  /** Guess tokens ahead. The answers stay the same, token for token with the same seed. Default: off. */
  speculate?: Speculation;
  /** A WebGPU entry point when `navigator.gpu` is not the one to use (Node). */
  gpu?: GPU;
  /** Which GGUF file of a folder or repository with several: its name, in which `*` stands for anything (`'*Q5_K_M*'`). Default: Q4_K_M. */
  file?: string;
  /** Token and mirror for names on Hugging Face. */
  hub?: HubOptions;
  /** Keeps what is downloaded, verified, for the next time: `openStore()`, or `folderStore(path)` of shaderloom/node. */
  store?: Store;
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
  /**
   * Tell of every token how likely the model thought it, and of so many of the likeliest (0 to 20) what else might have come.
   * Default: off.
   */
  logprobs?: number;
  signal?: AbortSignal;
}

/**
 * A token that could have come, and the natural logarithm of its probability: the softmax of the model's own logits, before
 * any penalty, bias, mask, temperature or cut.
 */
export interface IdLogprob {
  id: number;
  logprob: number;
}

export type FinishReason = 'stop' | 'length' | 'abort';

export interface Usage {
  promptTokens: number;
  /** Prompt tokens whose KV was already in the cache. */
  cachedTokens: number;
  completionTokens: number;
  reasoningTokens: number;
  /** Guessed tokens that steps verified, and how many of them were right. 0 without `speculate`. */
  draftTokens: number;
  acceptedTokens: number;
}

export interface Timings {
  /** Milliseconds from the call to the first token. */
  timeToFirstToken: number;
  prefillTokensPerSecond: number;
  decodeTokensPerSecond: number;
  /** Tokens that a forward pass behind the prefill gave; 1 without `speculate`. */
  tokensPerStep: number;
}

export interface ModelInfo {
  architecture: string;
  contextLength: number;
  /** What the weights were taken as: what was asked for, or what `auto` has chosen. */
  weights: LoadedFormat;
  weightBytes: number;
  /** Time and memory that loading the weights took. */
  load: LoadReport;
  /** What `weights` cost in accuracy, by kind of tensor; empty when nothing was converted. */
  conversionErrors: readonly ConversionError[];
  /** Bytes of weights that one decoded token reads: less than all where experts are chosen. */
  activeWeightBytesPerToken: number;
  /** What the KV cache may take at most; it begins with little and grows. */
  kvBytes: number;
  /** Everything else on the GPU: activations, inputs of steps, the sampler's state. */
  activationBytes: number;
  dispatchesPerToken: number;
  /** What an answer is sampled with when an option is not given: generation_config.json, then the types' defaults. */
  samplingDefaults: SamplingDefaults;
  adapter: { vendor: string; architecture: string; description: string; isFallback: boolean };
  /** Hot ops of a decoded token, and the kernel variant that computes each. Empty without self-test and tuning. */
  variants: Readonly<Record<string, string>>;
  /** Kernel variants (`linear:matvec`) that failed the self-test on this device and are not used. */
  wrongKernels: readonly string[];
  /** False: on this device some batches would change the bits of a row, so that answers are generated in smaller ones. Known once there were some. */
  readonly batchInvariant: boolean;
  /** GPU features in use: 'subgroups', 'f16'. */
  features: string[];
}
