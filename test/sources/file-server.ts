/** @file A real HTTP server over files in memory, well behaved or not, for tests of URL sources. */
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout } from 'node:timers/promises';

export interface Request {
  name: string;
  /** Path and query as sent. */
  url: string;
  range: { begin: number; end: number } | undefined;
  headers: IncomingHttpHeaders;
  method: string;
  /** How many requests came before this one. */
  index: number;
}

export interface Behaviour {
  /** The file that is asked for, in place of one of the given files. */
  find?: (request: Request) => Uint8Array | undefined;
  /** Answers with this status, and no file. */
  status?: (request: Request) => number | undefined;
  /** Sends another byte at this place of the body. */
  corruptAt?: (request: Request, length: number) => number | undefined;
  /** Whether Range is understood; true when not given. */
  ranges?: boolean;
  /** Breaks the connection after the headers and this many bytes of the body. */
  cutAfter?: (request: Request) => number | undefined;
  /** Falls silent after this many bytes of the body, and keeps the connection. */
  stallAfter?: (request: Request) => number | undefined;
  /** Milliseconds before every 16 KiB of a body. */
  delay?: (request: Request) => number;
  /** Answers in place of the server; returns whether it did. */
  answer?: (request: Request, response: ServerResponse) => boolean;
  /** More headers for every answer that holds a file. */
  headers?: (request: Request) => Record<string, string>;
}

export interface FileServer {
  url: string;
  requests: Request[];
  /** Bytes of bodies handed to the network so far. */
  sentBytes(): number;
  /** Answers that are neither complete nor broken off. */
  numOpen(): number;
  close(): Promise<void>;
}

export async function serve(files: Map<string, Uint8Array>, behaviour: Behaviour = {}): Promise<FileServer> {
  const requests: Request[] = [];
  let numSent = 0;
  let numOpen = 0;

  const server = createServer((incoming, response) => {
    void handle(incoming, response);
  });

  async function handle(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(incoming.url!, 'http://localhost');
    const range = behaviour.ranges === false ? undefined : parseRange(incoming.headers.range);
    const name = decodeURIComponent(pathname.slice(1));
    const { headers: sent, method = 'GET' } = incoming;
    const request = { name, url: incoming.url!, range, headers: sent, method, index: requests.length };
    requests.push(request);
    numOpen += 1;
    const closed = new Promise<void>((resolve) => {
      response.once('close', () => {
        numOpen -= 1;
        resolve();
      });
    });
    if (behaviour.answer?.(request, response)) return;
    const status = behaviour.status?.(request);
    if (status !== undefined) {
      response.writeHead(status, behaviour.headers?.(request)).end('not now');
      return;
    }
    const file = behaviour.find ? behaviour.find(request) : files.get(name);
    if (!file) {
      response.writeHead(404).end('not found');
      return;
    }
    if (range && range.begin >= file.length) {
      response.writeHead(416, { 'Content-Range': `bytes */${file.length}` }).end();
      return;
    }
    const end = Math.min(range?.end ?? file.length, file.length);
    let body = file.subarray(range?.begin ?? 0, end);
    const corruptAt = behaviour.corruptAt?.(request, body.length);
    if (corruptAt !== undefined) {
      body = body.slice();
      body[corruptAt]! ^= 0x40;
    }
    const headers: Record<string, string> = { 'Content-Length': String(body.length) };
    if (range) headers['Content-Range'] = `bytes ${range.begin}-${end - 1}/${file.length}`;
    response.writeHead(range ? 206 : 200, { ...headers, ...behaviour.headers?.(request) });
    await send(response, body, request, closed);
  }

  async function send(
    response: ServerResponse,
    body: Uint8Array,
    request: Request,
    closed: Promise<void>,
  ): Promise<void> {
    const cutAfter = behaviour.cutAfter?.(request) ?? body.length;
    const stallAfter = behaviour.stallAfter?.(request) ?? body.length;
    const delay = behaviour.delay?.(request) ?? 0;
    const length = Math.min(cutAfter, stallAfter, body.length);
    response.flushHeaders();
    for (let begin = 0; begin < length && !response.destroyed; begin += 16384) {
      const chunk = body.subarray(begin, Math.min(begin + 16384, length));
      if (delay > 0) await Promise.race([closed, setTimeout(delay)]);
      numSent += chunk.length;
      await Promise.race([closed, new Promise((resolve) => response.write(chunk, resolve))]);
    }
    if (stallAfter <= length && stallAfter < body.length) return closed;
    if (length < body.length) response.destroy();
    else response.end();
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    sentBytes: () => numSent,
    numOpen: () => numOpen,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function parseRange(header: string | undefined): { begin: number; end: number } | undefined {
  const match = /^bytes=(\d+)-(\d+)$/.exec(header ?? '');
  return match ? { begin: Number(match[1]), end: Number(match[2]) + 1 } : undefined;
}
