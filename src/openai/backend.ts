/**
 * @file What answers the requests of an engine: the model of this thread (local.ts), one in a worker, or a server.
 * Bodies and chunks are plain data that can be cloned.
 */
import type { Model } from '../chat/types.ts';
import type {
  ChatCompletionChunk,
  ChatCompletionRequest,
  CompletionChunk,
  CompletionRequest,
  EmbeddingRequest,
  EmbeddingResponse,
  ModelEntry,
  RerankRequest,
  RerankResponse,
} from './types.ts';

/**
 * Ending the iteration, or aborting the signal, ends the generation at its next step. After an abort the iterator throws the signal's
 * reason; everything else that it throws is an ApiError, for bad requests before the first chunk. The body cannot be trusted: the
 * backend checks it, whatever its type says.
 */
export interface Backend {
  readonly where: 'local' | 'worker' | 'remote';
  /** The model; undefined where a server has it. */
  readonly info: Model['info'] | undefined;
  /** The chunks of all answers. The last one has usage and timings and no choices, whatever `stream_options` says. */
  chat(body: ChatCompletionRequest, signal: AbortSignal | undefined): AsyncIterable<ChatCompletionChunk>;
  /** The same for plain text. */
  complete(body: CompletionRequest, signal: AbortSignal | undefined): AsyncIterable<CompletionChunk>;
  /** Vectors of texts, as lists of numbers or as the texts that `encoding_format` asks for. */
  embed(
    body: EmbeddingRequest,
    signal: AbortSignal | undefined,
  ): Promise<EmbeddingResponse<number[] | string>>;
  rerank(body: RerankRequest, signal: AbortSignal | undefined): Promise<RerankResponse>;
  models(signal?: AbortSignal): Promise<ModelEntry[]>;
  /** Settles when the device is lost; no request is answered after that. */
  readonly lost: Promise<Error>;
  dispose(): Promise<void>;
}
