/**
 * @file The engine that apps see: the OpenAI client's `chat.completions`, `completions` and `models` over a backend, and `fetch`, which
 * is the same as HTTP. Knows no model beyond loading one.
 */
import { loadModel } from '../chat/model.ts';
import type { Model } from '../chat/types.ts';
import type { LoadOptions } from '../engine/types.ts';
import type { SourceLike } from '../weights/open-source.ts';
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
  ModelEntry,
  NotStreaming,
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

export interface Engine {
  readonly chat: { readonly completions: ChatCompletions };
  readonly completions: TextCompletions;
  readonly models: {
    list(options?: RequestOptions): Promise<ModelList>;
    retrieve(id: string, options?: RequestOptions): Promise<ModelEntry>;
  };
  /**
   * The same over HTTP, for clients that take a `fetch`: POST chat/completions and completions, GET models and models/ID, below any
   * path. Never rejects but with the signal's reason; whatever is wrong is a response with the body of OpenAI's errors.
   */
  readonly fetch: typeof fetch;
  /** What is loaded; undefined where a server has it. */
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

/**
 * Loads a model and answers requests in the shape of the OpenAI API with it.
 * @param source what `loadModel` takes
 */
export async function createEngine(
  source: SourceLike,
  options: LoadOptions & EngineOptions = {},
): Promise<Engine> {
  const { modelId = nameOf(source), ...loadOptions } = options;
  return engineOf(await loadModel(source, loadOptions), { ...options, modelId });
}

/** The engine of a model that is loaded. `dispose` disposes of the model. */
export function engineOf(model: Model, options: EngineOptions = {}): Engine {
  return engineOver(localBackend(model, options.modelId ?? 'local'), options);
}

/** The engine over whatever answers its requests. */
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

/** A name for requests out of where the model comes from. */
function nameOf(source: SourceLike): string {
  if (typeof source !== 'string') return 'local';
  const isPlace = /^(\.|\/|\w+:\/\/)/.test(source);
  return isPlace
    ? (source
        .split(/[?#]/)[0]!
        .split('/')
        .findLast((part) => part !== '') ?? 'local')
    : source;
}
