/** @file The server around an engine: who is let in, what happens to clients that leave, how it ends. */
import { once } from 'node:events';
import { request } from 'node:http';
import { afterEach, describe, expect, test } from 'vitest';
import { ListenError } from '../../src/errors.ts';
import { type RunningServer, type ServeOptions, serve } from '../../src/serve.ts';

type Handler = (request: Request) => Promise<Response>;

const running: RunningServer[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.close({ patience: 0 })));
});

async function start(fetch: Handler, options: ServeOptions = {}): Promise<RunningServer> {
  const server = await serve({ fetch }, { port: 0, ...options });
  running.push(server);
  return server;
}

const echo: Handler = async (request) =>
  Response.json({ path: new URL(request.url).pathname, body: request.body && (await request.text()) });
const ask = (server: RunningServer, init: RequestInit = {}) =>
  fetch(`${server.url}/chat/completions`, { method: 'POST', body: '{"a":1}', ...init });

function settlable<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve = (_: T): void => {};
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

/** An answer that goes on until it is aborted. */
function endless(): { handler: Handler; began: Promise<void>; aborted: Promise<void> } {
  const began = settlable<void>();
  const aborted = settlable<void>();
  const handler: Handler = async ({ signal }) => {
    signal.addEventListener('abort', () => aborted.resolve());
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        began.resolve();
        await new Promise((resolve) => setTimeout(resolve, 5));
        if (signal.aborted) controller.error(signal.reason);
        else controller.enqueue(new TextEncoder().encode('data: {}\n\n'));
      },
    });
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
  };
  return { handler, began: began.promise, aborted: aborted.promise };
}

describe('a server around an engine', () => {
  test('hands requests to the engine and its answers back, bytes as they are', async () => {
    const server = await start(echo);
    const text = `{"text":"${'né€😀'.repeat(50_000)}"}`;
    const response = await ask(server, { body: text });
    expect(await response.json()).toEqual({ path: '/v1/chat/completions', body: text });
    expect(server.url).toBe(`http://127.0.0.1:${server.port}/v1`);
  });

  test('answers nobody without the key, where there is one', async () => {
    const server = await start(echo, { apiKey: 'sésame' });
    for (const authorization of [undefined, 'Bearer wrong', 'Bearer s', 'Basic sésame']) {
      const headers = authorization
        ? { authorization: Buffer.from(authorization).toString('latin1') }
        : undefined;
      const response = await ask(server, { headers });
      expect(response.status).toBe(401);
      expect(await response.json()).toMatchObject({ error: { code: 'invalid_api_key' } });
    }
    const plain = await start(echo, { apiKey: 'sk-1' });
    expect((await ask(plain, { headers: { authorization: 'Bearer sk-1' } })).status).toBe(200);
  });

  test('lets pages of other origins read answers only when told', async () => {
    const closed = await start(echo);
    expect((await ask(closed)).headers.get('access-control-allow-origin')).toBeNull();
    expect(
      (await ask(closed, { method: 'OPTIONS', body: null })).headers.get('access-control-allow-origin'),
    ).toBe(null);
    const open = await start(echo, { cors: 'https://app.example', apiKey: 'k' });
    const preflight = await ask(open, { method: 'OPTIONS', body: null });
    expect([preflight.status, preflight.headers.get('access-control-allow-origin')]).toEqual([
      204,
      'https://app.example',
    ]);
    expect((await ask(open)).headers.get('access-control-allow-origin')).toBe('https://app.example');
  });

  test('does not answer to a name that only points at this computer', async () => {
    const server = await start(echo);
    const status = (host: string) =>
      new Promise<number>((resolve, reject) => {
        request({ port: server.port, path: '/v1/models', headers: { host } }, (response) => {
          response.resume();
          resolve(response.statusCode!);
        })
          .on('error', reject)
          .end();
      });
    expect(await status('evil.example')).toBe(403);
    expect(await status(`localhost:${server.port}`)).toBe(200);
    expect(await status('127.0.0.1')).toBe(200);
  });

  test('ends the generation of a client that went away', async () => {
    const { handler, began, aborted } = endless();
    const ended = settlable<boolean>();
    const server = await start(handler, { onRequest: ({ isAborted }) => ended.resolve(isAborted) });
    const client = new AbortController();
    const response = await ask(server, { signal: client.signal });
    await began;
    await response.body!.getReader().read();
    client.abort();
    await aborted;
    expect(await ended.promise).toBe(true);
  });

  test('waits for a client that reads slowly instead of filling memory', async () => {
    let given = 0;
    const server = await start(async () => {
      const body = new ReadableStream<Uint8Array>({
        pull(controller) {
          if (given >= 256 << 20) return controller.close();
          given += 1 << 16;
          controller.enqueue(new Uint8Array(1 << 16));
        },
      });
      return new Response(body);
    });
    const response = await ask(server);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(given).toBeLessThan(32 << 20);
    await response.body!.cancel();
  });

  test('says 429 to more requests than it was told to take', async () => {
    const { handler, began } = endless();
    const server = await start(handler, { maxRequests: 1 });
    const client = new AbortController();
    await ask(server, { signal: client.signal });
    await began;
    const refused = await ask(server);
    expect(refused.status).toBe(429);
    expect(refused.headers.get('retry-after')).toBe('1');
    client.abort();
  });

  test('finishes the answers that run before it ends, and takes no more', async () => {
    const release = settlable<void>();
    const reached = settlable<void>();
    const server = await start(async () => {
      reached.resolve();
      await release.promise;
      return Response.json({ done: true });
    });
    const first = ask(server);
    await reached.promise;
    const closed = server.close();
    await expect(ask(server)).rejects.toThrow();
    release.resolve();
    expect(await (await first).json()).toEqual({ done: true });
    await closed;
  });

  test('aborts what still runs when its patience ends', async () => {
    const { handler, began, aborted } = endless();
    const server = await start(handler);
    const response = await ask(server);
    const read = response.text().catch(() => 'broken off');
    await began;
    await server.close({ patience: 20 });
    await aborted;
    expect(await read).toBe('broken off');
  });

  test('says which port is taken', async () => {
    const first = await start(echo);
    await expect(serve({ fetch: echo }, { port: first.port })).rejects.toThrow(ListenError);
    await expect(serve({ fetch: echo }, { port: 70_000 })).rejects.toThrow('port is 70000');
  });

  test('survives a client that sends nonsense', async () => {
    const server = await start(echo);
    const socket = (await import('node:net')).connect(server.port, '127.0.0.1');
    socket.write('GARBAGE \r\n\r\n');
    await once(socket.resume(), 'close');
    expect((await ask(server)).status).toBe(200);
  });
});
