/**
 * @file Node's HTTP server for an engine: which clients may ask, how much, and how the server ends. Knows nothing of the requests
 * themselves: all go to `engine.fetch`.
 */
import { timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { InvalidInputError, ListenError } from './errors.ts';

export interface ServeOptions {
  /** 0: any free port. Default 8000. */
  port?: number;
  /** Default 127.0.0.1: this computer only. */
  host?: string;
  /** Requests must carry it as `Authorization: Bearer KEY`. Default: none is asked for. */
  apiKey?: string;
  /** The origin whose pages may read answers, `*` for any. Default: none. */
  cors?: string;
  /** The most requests that may run or wait; one more gets 429. Default 64. */
  maxRequests?: number;
  /** Called when a request has ended. */
  onRequest?: (request: ServedRequest) => void;
}

export interface ServedRequest {
  method: string;
  path: string;
  status: number;
  milliseconds: number;
  /** The client went away before the answer's end. */
  isAborted: boolean;
}

export interface RunningServer {
  /** `http://127.0.0.1:8000/v1`, what a client takes as its base URL. */
  readonly url: string;
  readonly port: number;
  /**
   * Takes no more requests, and settles when the running ones have their answers, or were aborted after `patience` milliseconds
   * (default 10,000). May be called again with less. The engine stays.
   */
  close(options?: { patience?: number }): Promise<void>;
}

/** The request, not the answer, must be complete within this time. */
const REQUEST_TIMEOUT = 60_000;
const CORS_METHODS = 'GET, POST, OPTIONS';
const LOOPBACK_HOSTS = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i;

/**
 * Serves the OpenAI API under /v1.
 * @throws ListenError when the port or the address is not available; InvalidInputError
 */
export async function serve(
  engine: { fetch(request: Request): Promise<Response> },
  options: ServeOptions = {},
): Promise<RunningServer> {
  const { port = 8000, host = '127.0.0.1', maxRequests = 64, onRequest } = options;
  if (!Number.isSafeInteger(port) || port < 0 || port > 65535) {
    throw new InvalidInputError(`port is ${port}, wanted an integer from 0 to 65535`);
  }
  if (!Number.isSafeInteger(maxRequests) || maxRequests < 1) {
    throw new InvalidInputError(`maxRequests is ${maxRequests}, wanted a positive integer`);
  }
  const running = new Set<AbortController>();
  let closing: Promise<void> | undefined;
  let allAnswered = (): void => {};

  async function answer(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const began = performance.now();
    const gone = new AbortController();
    outgoing.once('close', () => {
      if (!outgoing.writableFinished) gone.abort();
    });
    const isCounted = incoming.method === 'POST';
    if (isCounted) running.add(gone);
    try {
      const refused = refusal(incoming, {
        ...options,
        maxRequests,
        isLoopback: isLoopback(host),
        isClosing: closing !== undefined,
        isFull: running.size > maxRequests,
      });
      await send(refused ?? (await engine.fetch(toRequest(incoming, gone.signal))), outgoing, options.cors);
    } catch (error) {
      // The engine answers its own failures, so this is a broken connection.
      if (!gone.signal.aborted) {
        gone.abort();
        outgoing.destroy(error as Error);
      }
    } finally {
      running.delete(gone);
      if (running.size === 0) allAnswered();
      onRequest?.({
        method: incoming.method ?? '',
        path: (incoming.url ?? '').split('?')[0]!,
        status: outgoing.statusCode,
        milliseconds: performance.now() - began,
        isAborted: gone.signal.aborted,
      });
    }
  }

  const server = createServer({ requestTimeout: REQUEST_TIMEOUT }, (incoming, outgoing) => {
    void answer(incoming, outgoing);
  });

  async function end(): Promise<void> {
    const closed = once(server, 'close');
    server.close();
    server.closeIdleConnections();
    if (running.size > 0) {
      await new Promise<void>((resolve) => {
        allAnswered = resolve;
      });
    }
    // Otherwise connections whose answers have just ended are kept alive.
    server.closeIdleConnections();
    await closed;
  }

  await listen(server, port, host);
  const bound = (server.address() as AddressInfo).port;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}/v1`,
    port: bound,
    close({ patience = 10_000 } = {}) {
      closing ??= end();
      const timer = setTimeout(() => {
        for (const request of running) request.abort();
        server.closeAllConnections();
      }, patience);
      return closing.finally(() => clearTimeout(timer));
    },
  };
}

async function listen(server: Server, port: number, host: string): Promise<void> {
  server.listen(port, host);
  try {
    await once(server, 'listening');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reason =
      code === 'EADDRINUSE'
        ? 'something else listens there'
        : code === 'EACCES'
          ? 'this user may not listen there'
          : message;
    throw new ListenError(`${host}:${port} cannot be used: ${reason}. Give another port, or 0 for any.`);
  }
}

const isLoopback = (host: string): boolean => LOOPBACK_HOSTS.test(host) || host === '::1';

interface Gate extends Pick<ServeOptions, 'apiKey' | 'cors'> {
  maxRequests: number;
  isLoopback: boolean;
  isClosing: boolean;
  isFull: boolean;
}

/** The answer to a request that never reaches the engine. */
function refusal({ method, headers }: IncomingMessage, gate: Gate): Response | undefined {
  // A page may point a name of its own at this computer, and the browser then treats this server as the page's own.
  if (gate.isLoopback && !LOOPBACK_HOSTS.test(headers.host ?? '')) {
    return failure(
      403,
      'forbidden_host',
      `The request is for the host ${headers.host}, this server answers to localhost alone.`,
    );
  }
  if (method === 'OPTIONS' && gate.cors !== undefined) return new Response(null, { status: 204 });
  if (gate.apiKey !== undefined && !isKey(headers.authorization, gate.apiKey)) {
    return failure(
      401,
      'invalid_api_key',
      'The API key is missing or wrong; send it as `Authorization: Bearer KEY`.',
    );
  }
  if (gate.isClosing) return failure(503, 'shutting_down', 'The server is shutting down.');
  if (gate.isFull) {
    return failure(
      429,
      'too_many_requests',
      `${gate.maxRequests} requests are running or waiting already; try again later.`,
      { 'retry-after': '1' },
    );
  }
  return undefined;
}

function isKey(authorization: string | undefined, key: string): boolean {
  const given = Buffer.from(authorization?.match(/^Bearer (.*)$/i)?.[1]?.trim() ?? '');
  const wanted = Buffer.from(key);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

/** An error in the form of the OpenAI API. */
function failure(
  status: number,
  code: string,
  message: string,
  headers: Record<string, string> = {},
): Response {
  const type = status === 429 ? 'rate_limit_error' : status < 500 ? 'invalid_request_error' : 'server_error';
  return Response.json({ error: { message, type, param: null, code } }, { status, headers });
}

function toRequest(incoming: IncomingMessage, signal: AbortSignal): Request {
  const { method = 'GET', url = '/' } = incoming;
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming.headersDistinct)) {
    for (const one of value ?? []) headers.append(name, one);
  }
  const hasBody = method !== 'GET' && method !== 'HEAD';
  return new Request(new URL(url, 'http://localhost'), {
    method,
    headers,
    signal,
    // Read only as far as the engine wants.
    ...(hasBody && { body: Readable.toWeb(incoming) as ReadableStream<Uint8Array>, duplex: 'half' }),
  });
}

async function send(response: Response, outgoing: ServerResponse, cors: string | undefined): Promise<void> {
  response.headers.forEach((value, name) => {
    outgoing.setHeader(name, value);
  });
  if (cors !== undefined) {
    outgoing.setHeader('access-control-allow-origin', cors);
    if (cors !== '*') outgoing.setHeader('vary', 'Origin');
    outgoing.setHeader('access-control-allow-methods', CORS_METHODS);
    outgoing.setHeader('access-control-allow-headers', '*, Authorization');
    // A page on the web asks a computer in the local network.
    outgoing.setHeader('access-control-allow-private-network', 'true');
  }
  outgoing.writeHead(response.status);
  outgoing.flushHeaders();
  for await (const bytes of response.body ?? []) {
    if (outgoing.destroyed) break;
    if (!outgoing.write(bytes)) await drained(outgoing);
  }
  outgoing.end();
}

/** Resolves when the client has taken what was written, or has gone. */
function drained(outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      outgoing.off('drain', done).off('close', done);
      resolve();
    };
    outgoing.on('drain', done).on('close', done);
  });
}
