/**
 * @file Requests that a server answers, any that speaks the OpenAI API over HTTP. It owns addresses, headers, and what failures
 * mean; server-request.ts owns names of fields, server-chunks.ts shapes of chunks.
 */
import { ApiError, InvalidInputError } from '../errors.ts';
import type { Backend } from './backend.ts';
import { type ChunkReader, isObject, readChatChunks, readCompletionChunks } from './server-chunks.ts';
import { chatBody, completionBody, plainBody } from './server-request.ts';
import { serverEvents } from './sse.ts';
import type { ModelEntry } from './types.ts';

export interface RemoteOptions {
  /** Address of the API, as SDKs take it: `http://localhost:8000/v1`. */
  baseURL: string | URL;
  /** Sent as a bearer token. In a page, the user of the page can see it. */
  apiKey?: string | undefined;
  /** For requests that name none. Default: the first one that the server lists. */
  model?: string | undefined;
  headers?: Readonly<Record<string, string>> | undefined;
  /** Used in place of the global `fetch`. */
  fetch?: ((input: string, init: RequestInit) => Promise<Response>) | undefined;
}

type Fields = Record<string, unknown>;

/** How much of a refusal is read; more would not help anyone. */
const MAX_ERROR_CHARS = 300;

/**
 * @throws InvalidInputError for options that cannot be used. Only the first request shows whether there is a server. Requests are
 * made once: the caller decides whether to ask again.
 */
export function remoteBackend(options: RemoteOptions): Backend {
  const server = new Server(options);
  return {
    where: 'remote',
    info: undefined,
    chat: (body, signal) => server.answer('chat/completions', chatBody, body, readChatChunks(), signal),
    complete: (body, signal) =>
      server.answer('completions', completionBody, body, readCompletionChunks(), signal),
    embed: (body, signal) => server.whole('embeddings', body, 'data', signal),
    rerank: (body, signal) => server.whole('rerank', body, 'results', signal),
    models: (signal) => server.models(signal),
    lost: new Promise(() => {}),
    dispose: async () => server.dispose(),
  };
}

class Server {
  readonly #base: URL;
  readonly #apiKey: string | undefined;
  readonly #model: string | undefined;
  readonly #headers: RemoteOptions['headers'];
  readonly #fetch: NonNullable<RemoteOptions['fetch']>;
  readonly #disposed = new AbortController();
  #listed: Promise<string> | undefined;

  constructor({
    baseURL,
    apiKey,
    model,
    headers,
    fetch = (input, init) => globalThis.fetch(input, init),
  }: RemoteOptions) {
    this.#base = parseBase(baseURL);
    this.#apiKey = apiKey;
    this.#model = model;
    this.#headers = headers;
    this.#fetch = fetch;
  }

  async *answer<Body extends { model?: string }, Chunk>(
    path: string,
    bodyFor: (body: Body, model: string) => Fields,
    body: Body,
    chunks: ChunkReader<Chunk>,
    given: AbortSignal | undefined,
  ): AsyncGenerator<Chunk> {
    const signal = this.#withDisposal(given);
    signal.throwIfAborted();
    if (!isObject(body)) throw new ApiError(400, 'The body of the request is not an object.');
    try {
      const response = await this.#send(path, bodyFor(body, await this.#modelOf(body, signal)), signal);
      for await (const json of jsonsOf(response)) {
        if (json.error || json.object === 'error') throw failure(json);
        const chunk = chunks.read(json);
        if (chunk) yield chunk;
      }
    } catch (error) {
      signal.throwIfAborted();
      throw error instanceof ApiError ? error : unreachable(this.#base, error);
    }
    yield chunks.end();
  }

  /** An answer that does not come in chunks. @param list the field that it must have */
  async whole<Answer>(
    path: string,
    body: { model?: string },
    list: keyof Answer & string,
    given: AbortSignal | undefined,
  ): Promise<Answer> {
    const signal = this.#withDisposal(given);
    signal.throwIfAborted();
    if (!isObject(body)) throw new ApiError(400, 'The body of the request is not an object.');
    const response = await this.#send(path, plainBody(body, await this.#modelOf(body, signal)), signal);
    const text = await response.text().catch((error: unknown) => {
      signal.throwIfAborted();
      throw unreachable(this.#base, error);
    });
    const json = parsed(text);
    if (json.error || json.object === 'error') throw failure(json);
    if (Array.isArray(json[list])) return json as Answer;
    throw new ApiError(502, `The server's answer has no list ${list}. Is that an API with ${path}?`);
  }

  async models(signal?: AbortSignal): Promise<ModelEntry[]> {
    const response = await this.#send('models', undefined, this.#withDisposal(signal));
    const { data } = (await response.json().catch(() => ({}))) as { data?: unknown };
    if (!Array.isArray(data)) {
      const base = shown(this.#base);
      throw new ApiError(502, `${base}models is not a list of models. Is ${base} an OpenAI API?`);
    }
    return data.filter(isObject).map(modelEntry);
  }

  dispose(): void {
    this.#disposed.abort(new ApiError(503, 'The engine was disposed of. Create another one.'));
  }

  async #send(path: string, body: Fields | undefined, signal: AbortSignal): Promise<Response> {
    const url = new URL(this.#base);
    url.pathname += path;
    const send = this.#fetch;
    let response: Response;
    try {
      response = await send(url.href, {
        method: body ? 'POST' : 'GET',
        headers: {
          ...(body && { 'Content-Type': 'application/json' }),
          ...(this.#apiKey !== undefined && { Authorization: `Bearer ${this.#apiKey}` }),
          ...this.#headers,
        },
        ...(body && { body: jsonOf(body) }),
        signal,
      });
    } catch (error) {
      signal.throwIfAborted();
      throw error instanceof ApiError ? error : unreachable(url, error);
    }
    if (!response.ok) throw refusal(response.status, await bodyOf(response, signal), url);
    return response;
  }

  async #firstModel(signal: AbortSignal): Promise<string> {
    const [first] = await this.models(signal);
    if (first) return first.id;
    throw new ApiError(404, `${shown(this.#base)} lists no model. Load one there, or name one as \`model\`.`);
  }

  /** The model for a body. If the server's list could not be read, it is asked for again. */
  async #modelOf(body: { model?: string }, signal: AbortSignal): Promise<string> {
    const named = body.model ?? this.#model;
    if (named !== undefined) return named;
    this.#listed ??= this.#firstModel(signal).catch((error) => {
      this.#listed = undefined;
      throw error;
    });
    return this.#listed;
  }

  #withDisposal(signal: AbortSignal | undefined): AbortSignal {
    return signal ? AbortSignal.any([signal, this.#disposed.signal]) : this.#disposed.signal;
  }
}

/** What the events of a stream hold up to `[DONE]`; from a server that does not stream, its one answer. */
async function* jsonsOf(response: Response): AsyncGenerator<Fields> {
  if (!response.headers.get('Content-Type')?.includes('text/event-stream')) {
    yield parsed(await response.text());
    return;
  }
  for await (const { data } of serverEvents(response.body!)) {
    if (data.trim() === '[DONE]') return;
    yield parsed(data);
  }
}

function parsed(text: string): Fields {
  try {
    const json: unknown = JSON.parse(text);
    if (isObject(json)) return json;
  } catch {
    // reported below
  }
  throw new ApiError(
    502,
    `The server answered ${JSON.stringify(text.slice(0, 100))}, wanted JSON of a completion.`,
  );
}

function jsonOf(body: Fields): string {
  try {
    return JSON.stringify(body);
  } catch (error) {
    throw new ApiError(400, `The request cannot be written as JSON: ${(error as Error).message}`);
  }
}

function parseBase(baseURL: string | URL): URL {
  const page = globalThis.document?.baseURI ?? globalThis.location?.href;
  let url: URL | undefined;
  try {
    url = new URL(baseURL, page);
  } catch {
    // reported below
  }
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new InvalidInputError(
      `baseURL is ${JSON.stringify(baseURL)}, wanted the address of an OpenAI API like http://localhost:8000/v1`,
    );
  }
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return url;
}

/** The URL without what may be a secret. */
function shown({ origin, pathname }: URL): string {
  return origin + pathname;
}

function unreachable(url: URL, error: unknown): ApiError {
  const { message, cause } = error as Error;
  const why = cause instanceof Error ? `${message}, ${cause.message}` : message;
  const origin = globalThis.location?.origin;
  const cors =
    origin === undefined || origin === url.origin ? '' : `, and does it allow pages of ${origin} (CORS)`;
  return new ApiError(
    503,
    `${shown(url)} gave no answer, or broke it off (${why}). Does the server run${cors}?`,
    {
      type: 'connection_error',
    },
  );
}

async function bodyOf(response: Response, signal: AbortSignal): Promise<Fields | string> {
  const text = await response.text().catch(() => '');
  signal.throwIfAborted();
  try {
    const json: unknown = JSON.parse(text);
    if (isObject(json)) return json;
  } catch {
    // not every server refuses in JSON
  }
  return text;
}

const NEXT_STEP: Readonly<Record<number, string>> = {
  401: ' Give the right `apiKey`.',
  403: ' Give the right `apiKey`.',
  404: ' Is `baseURL` the address of an OpenAI API (most end with /v1), and `model` a model of this server?',
};

function refusal(status: number, body: Fields | string, url: URL): ApiError {
  const { message, type, code, param } = explanation(body);
  return new ApiError(
    status,
    `${shown(url)}: ${message || 'no reason given'} (${status}).${NEXT_STEP[status] ?? ''}`,
    {
      type,
      code,
      param,
    },
  );
}

/** A failure that the server reported in its stream. */
function failure(body: Fields): ApiError {
  const { message, type, code, param, status } = explanation(body);
  return new ApiError(status ?? 500, message || 'The server failed and gave no reason.', {
    type,
    code,
    param,
  });
}

interface Explanation {
  message: string;
  type: string | undefined;
  code: string | null;
  param: string | null;
  status: number | undefined;
}

/** OpenAI has an object in `error`, Ollama sometimes a text, older vLLM the fields themselves, FastAPI (a wrong type) `detail`. */
function explanation(body: Fields | string): Explanation {
  const fields: Fields =
    typeof body === 'string'
      ? { message: body }
      : isObject(body.error)
        ? body.error
        : { ...body, message: body.error ?? body.message ?? body.detail };
  const { message, type, code, param } = fields;
  const said = typeof message === 'string' ? message : message === undefined ? '' : JSON.stringify(message);
  return {
    message: said.slice(0, MAX_ERROR_CHARS).trim(),
    type: typeof type === 'string' ? type : undefined,
    code: typeof code === 'string' ? code : null,
    param: typeof param === 'string' ? param : null,
    status: typeof code === 'number' && code >= 400 && code < 600 ? code : undefined,
  };
}

function modelEntry({ id, created, owned_by, max_model_len }: Fields): ModelEntry {
  return {
    id: String(id),
    object: 'model',
    created: typeof created === 'number' ? created : 0,
    owned_by: typeof owned_by === 'string' ? owned_by : '',
    ...(typeof max_model_len === 'number' && { max_model_len }),
  };
}
