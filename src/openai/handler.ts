/**
 * @file The engine as HTTP: requests to responses with the paths, statuses and bodies of the OpenAI API. Web standards only, the same in
 * a page and in Node. Knows backends and no model.
 */
import { ApiError } from '../errors.ts';
import { apiErrorOf, errorBody } from './api-error.ts';
import type { Backend } from './backend.ts';
import { checkModel, wantsUsage } from './check.ts';
import { isRecord, refuse } from './fields.ts';
import { foldChat, foldText } from './fold.ts';
import { type CompletionStream, openStream } from './stream.ts';

export interface HandlerOptions {
  /** The most bytes that the body of a request may have. Default: 8 MiB, more than the text of a million tokens. */
  maxBodyBytes?: number;
}

const MAX_BODY_BYTES = 8 * 2 ** 20;
/** The base of a URL that is only a path. */
const BASE = 'http://localhost';
const PATH = /\/(chat\/completions|completions|embeddings|rerank|models)(?:\/(.+?))?\/?$/;

/** Rejects with the reason of the request's signal; everything else is a response. */
export function createHandler(
  backend: Backend,
  { maxBodyBytes = MAX_BODY_BYTES }: HandlerOptions = {},
): typeof fetch {
  async function answer(request: Request, signal: AbortSignal | undefined): Promise<Response> {
    const { pathname } = new URL(request.url);
    const begin = pathname.indexOf('/v1/');
    const [, name, rest] = PATH.exec(begin < 0 ? pathname : pathname.slice(begin + 3)) ?? [];
    if (name === undefined || (name !== 'models' && rest !== undefined)) {
      throw new ApiError(
        404,
        `There is nothing at ${request.method} ${pathname}. Wanted a path that ends with chat/completions, completions, embeddings, rerank or models.`,
        { code: 'unknown_url' },
      );
    }
    const wanted = name === 'models' ? 'GET' : 'POST';
    if (request.method !== wanted) {
      throw new ApiError(405, `${pathname} cannot be asked with ${request.method}, wanted ${wanted}.`, {
        code: 'method_not_supported',
      });
    }
    if (name === 'models') return Response.json(await models(rest, signal));
    const body = await readJson(request, maxBodyBytes);
    // The backend checks it.
    if (name === 'embeddings') return Response.json(await backend.embed(body as never, signal));
    if (name === 'rerank') return Response.json(await backend.rerank(body as never, signal));
    return name === 'completions'
      ? respond((own) => backend.complete(body as never, own), foldText, body, signal)
      : respond((own) => backend.chat(body as never, own), foldChat, body, signal);
  }

  async function models(id: string | undefined, signal: AbortSignal | undefined): Promise<object> {
    const data = await backend.models(signal);
    if (id === undefined) return { object: 'list', data };
    const wanted = decoded(id);
    const found = data.find((entry) => entry.id === wanted);
    if (!found) checkModel(wanted, data.map((entry) => entry.id).join(', '));
    return found!;
  }

  return async (input, init) => {
    const request = new Request(input instanceof Request ? input : new URL(input, BASE), init);
    // The request's own signal follows this one, but in Node only while something holds the request.
    const signal = init?.signal ?? (input instanceof Request ? input.signal : undefined);
    signal?.throwIfAborted();
    try {
      return await answer(request, signal);
    } catch (error) {
      const failure = apiErrorOf(error, signal, { text: 'messages', held: null });
      if (!(failure instanceof ApiError)) throw failure;
      const { status } = failure;
      return Response.json(errorBody(failure), { status });
    }
  };
}

async function respond<Chunk extends { choices: unknown[] }>(
  ask: (signal: AbortSignal | undefined) => AsyncIterable<Chunk>,
  fold: (chunks: AsyncIterable<Chunk>) => Promise<object>,
  body: unknown,
  signal: AbortSignal | undefined,
): Promise<Response> {
  if (!isRecord(body) || body.stream !== true) return Response.json(await fold(ask(signal)));
  const stream = await openStream(ask, signal, wantsUsage(body));
  return new Response(eventStream(stream, signal), {
    headers: { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' },
  });
}

/** Server-sent events: one for each chunk, then an error if there was one, then `[DONE]`. Cancelling ends the generation. */
function eventStream<Chunk>(
  stream: CompletionStream<Chunk>,
  signal: AbortSignal | undefined,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const chunks = stream[Symbol.asyncIterator]();
  const event = (data: string): Uint8Array => encoder.encode(`data: ${data}\n\n`);
  return new ReadableStream<Uint8Array>({
    async pull(sink) {
      try {
        const { done, value } = await chunks.next();
        if (!done) return sink.enqueue(event(JSON.stringify(value)));
        if (signal?.aborted) return sink.error(signal.reason);
      } catch (error) {
        const failure = apiErrorOf(error, undefined, { text: 'messages', held: null }) as ApiError;
        sink.enqueue(event(JSON.stringify(errorBody(failure))));
      }
      sink.enqueue(event('[DONE]'));
      sink.close();
    },
    cancel() {
      stream.controller.abort();
      void chunks.return?.();
    },
  });
}

/** The media type must be JSON's: a page of another origin can send that only if this server allows it. */
async function readJson(request: Request, maxBytes: number): Promise<unknown> {
  const type = request.headers.get('content-type') ?? 'no content-type';
  if (!/^application\/json\s*(;|$)/i.test(type)) {
    throw new ApiError(415, `The body is ${type}, wanted application/json.`, {
      code: 'unsupported_media_type',
    });
  }
  const bytes = await readBytes(request, maxBytes);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    return refuse(null, `The body is not JSON: ${(error as Error).message}.`, 'invalid_json');
  }
}

async function readBytes(request: Request, maxBytes: number): Promise<Uint8Array> {
  const tooLarge = (): ApiError =>
    new ApiError(
      413,
      `The body has more than ${maxBytes} bytes, which is the most that is read. Shorten it.`,
      {
        code: 'request_too_large',
      },
    );
  if (Number(request.headers.get('content-length')) > maxBytes) throw tooLarge();
  const pieces: Uint8Array[] = [];
  let length = 0;
  const take = (piece: Uint8Array): void => {
    length += piece.length;
    if (length > maxBytes) throw tooLarge();
    pieces.push(piece);
  };
  // Not every browser gives a request's body as a stream.
  const reader = request.body?.getReader();
  if (!reader) take(new Uint8Array(await request.arrayBuffer()));
  for (let next = await reader?.read(); next && !next.done; next = await reader!.read()) take(next.value);
  const bytes = new Uint8Array(length);
  let end = 0;
  for (const piece of pieces) {
    bytes.set(piece, end);
    end += piece.length;
  }
  return bytes;
}

function decoded(id: string): string {
  try {
    return decodeURIComponent(id);
  } catch {
    return id;
  }
}
