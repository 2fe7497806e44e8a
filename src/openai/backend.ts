/**
 * @file The seam of the engine: who answers a request. The model of this thread (local.ts), one in a worker, or a server.
 * Bodies and chunks are plain data that can be cloned.
 */
import type { Model } from '../chat/types.ts';
import type {
  ChatCompletionChunk,
  ChatCompletionRequest,
  CompletionChunk,
  CompletionRequest,
  ModelEntry,
} from './types.ts';

/**
 * Whoever stops iterating, or aborts the signal, ends the generation at its next step. What is iterated then throws the signal's
 * reason; everything else that it throws is an ApiError, for bad requests before the first chunk. The body is not to be trusted: the
 * backend checks it, whatever its type says.
 */
export interface Backend {
  /** The model; undefined where a server has it. */
  readonly info: Model['info'] | undefined;
  /** The chunks of all answers. The last has no choices, but usage and timings, whatever `stream_options` says. */
  chat(body: ChatCompletionRequest, signal: AbortSignal | undefined): AsyncIterable<ChatCompletionChunk>;
  /** The same of plain text. */
  complete(body: CompletionRequest, signal: AbortSignal | undefined): AsyncIterable<CompletionChunk>;
  models(signal?: AbortSignal): Promise<ModelEntry[]>;
  /** Settles when the device is lost; nothing is answered any more. */
  readonly lost: Promise<Error>;
  dispose(): Promise<void>;
}
