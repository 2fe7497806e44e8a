/**
 * @file The engine that apps see: the OpenAI client's `chat.completions`, `completions` and `models` over a backend, and `fetch`, which
 * is the same over HTTP. It must know nothing of models but their backend.
 */
import type { Model } from '../chat/types.ts';
import type { Backend } from './backend.ts';
import { checkModel, wantsUsage } from './check.ts';
import { foldChat, foldText } from './fold.ts';
import { createHandler, type HandlerOptions } from './handler.ts';
import { localBackend } from './local.ts';
import { type CompletionStream, openStream } from './stream.ts';
import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatCompletionRequest,
  Completion,
  CompletionChunk,
  CompletionRequest,
  EmbeddingRequest,
  EmbeddingResponse,
  ModelEntry,
  NotStreaming,
  RerankRequest,
  RerankResponse,
  Streaming,
} from './types.ts';

export interface RequestOptions {
  /** Ends the generation at its next step. `create` rejects with the signal's reason; a stream that has begun just ends. */
  signal?: AbortSignal | null;
}

/** Every method rejects with ApiError for what is wrong with a request: `status`, `param`, `code` and `type` as in the OpenAI API. */
export interface ChatCompletions {
  create(body: ChatCompletionRequest & NotStreaming, options?: RequestOptions): Promise<ChatCompletion>;
  create(
    body: ChatCompletionRequest & Streaming,
    options?: RequestOptions,
  ): Promise<CompletionStream<ChatCompletionChunk>>;
  create(
    body: ChatCompletionRequest,
    options?: RequestOptions,
  ): Promise<ChatCompletion | CompletionStream<ChatCompletionChunk>>;
}

export interface TextCompletions {
  create(body: CompletionRequest & NotStreaming, options?: RequestOptions): Promise<Completion>;
  create(
    body: CompletionRequest & Streaming,
    options?: RequestOptions,
  ): Promise<CompletionStream<CompletionChunk>>;
  create(
    body: CompletionRequest,
    options?: RequestOptions,
  ): Promise<Completion | CompletionStream<CompletionChunk>>;
}

export interface ModelList extends AsyncIterable<ModelEntry> {
  object: 'list';
  data: ModelEntry[];
}

export interface Embeddings {
  create(
    body: EmbeddingRequest & { encoding_format?: 'float' | null },
    options?: RequestOptions,
  ): Promise<EmbeddingResponse>;
  create(
    body: EmbeddingRequest & { encoding_format: 'base64' },
    options?: RequestOptions,
  ): Promise<EmbeddingResponse<string>>;
  create(
    body: EmbeddingRequest,
    options?: RequestOptions,
  ): Promise<EmbeddingResponse | EmbeddingResponse<string>>;
}

export interface Engine {
  readonly chat: { readonly completions: ChatCompletions };
  readonly completions: TextCompletions;
  /** Vectors of texts, of a model made for that. */
  readonly embeddings: Embeddings;
  /** How well documents answer a query, of a model made for that. */
  rerank(body: RerankRequest, options?: RequestOptions): Promise<RerankResponse>;
  readonly models: {
    list(options?: RequestOptions): Promise<ModelList>;
    retrieve(id: string, options?: RequestOptions): Promise<ModelEntry>;
  };
  /**
   * The same over HTTP, for clients that take a `fetch`: POST chat/completions, completions, embeddings and rerank, GET models and models/ID, below any
   * path. It rejects only with the signal's reason; every other failure is a response with the body of an OpenAI error.
   */
  readonly fetch: typeof fetch;
  /** What answers: a model of this thread, one of a worker, or a server. */
  readonly where: Backend['where'];
  /** The loaded model; undefined where a server has it. */
  readonly info: Model['info'] | undefined;
  /** Settles when the device is lost; the engine is unusable then. */
  readonly lost: Promise<Error>;
  /** Releases everything; requests that run fail. */
  dispose(): Promise<void>;
}

export interface EngineOptions extends HandlerOptions {
  /** What requests call the model. Default: the name or the last part of the path it is loaded from, else `local`. */
  modelId?: string;
}

/** The engine of a loaded model. `dispose` disposes of the model too. */
export function engineOf(model: Model, options: EngineOptions = {}): Engine {
  return engineOver(localBackend(model, options.modelId ?? 'local'), options);
}

/** The engine over a backend. */
export function engineOver(backend: Backend, options: HandlerOptions = {}): Engine {
  const list = async ({ signal }: RequestOptions = {}): Promise<ModelList> => {
    const data = await backend.models(signal ?? undefined);
    return {
      object: 'list',
      data,
      async *[Symbol.asyncIterator]() {
        yield* data;
      },
    };
  };
  return {
    chat: { completions: { create: creator(backend.chat, foldChat) as ChatCompletions['create'] } },
    completions: { create: creator(backend.complete, foldText) as TextCompletions['create'] },
    embeddings: {
      create: ((body, { signal } = {}) => backend.embed(body, signal ?? undefined)) as Embeddings['create'],
    },
    rerank: (body, { signal } = {}) => backend.rerank(body, signal ?? undefined),
    models: {
      list,
      async retrieve(id, options) {
        const { data } = await list(options);
        const found = data.find((entry) => entry.id === id);
        if (!found) checkModel(id, data.map((entry) => entry.id).join(', '));
        return found!;
      },
    },
    fetch: createHandler(backend, options),
    where: backend.where,
    info: backend.info,
    lost: backend.lost,
    dispose: () => backend.dispose(),
  };
}

/** `create` of one kind of completions. */
function creator<Body extends { stream?: boolean | null }, Chunk extends { choices: unknown[] }, Whole>(
  ask: (body: Body, signal: AbortSignal | undefined) => AsyncIterable<Chunk>,
  fold: (chunks: AsyncIterable<Chunk>) => Promise<Whole>,
): (body: Body, options?: RequestOptions) => Promise<Whole | CompletionStream<Chunk>> {
  return async (body, { signal } = {}) => {
    signal?.throwIfAborted();
    if (body?.stream !== true) return fold(ask(body, signal ?? undefined));
    return openStream((own) => ask(body, own), signal ?? undefined, wantsUsage(body));
  };
}
