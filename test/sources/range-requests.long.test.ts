import type { ServerResponse } from 'node:http';
import { afterEach, describe, expect, test } from 'vitest';
import { CorruptCheckpointError, SourceError } from '../../src/errors.ts';
import type { ByteRange, ReadOptions, Source } from '../../src/sources/source.ts';
import type { UrlReaderOptions } from '../../src/sources/url-reader.ts';
import { urlSource } from '../../src/sources/url-source.ts';
import { type Behaviour, type FileServer, type Request, serve } from './file-server.ts';

const SIZE = 1_000_003;
const PIECE = 64 * 1024;
const NUM_PIECES = Math.ceil(SIZE / PIECE);
const big = new Uint8Array(SIZE);
for (let i = 0; i < SIZE; i++) big[i] = (i * 2654435761) >>> 13;

const servers: FileServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function start(behaviour: Behaviour = {}, file: Uint8Array = big): Promise<FileServer> {
  const server = await serve(new Map([['big.bin', file]]), behaviour);
  servers.push(server);
  return server;
}

/** A source that knows, from the start of the file, that the server has ranges, as it does when headers were read. */
async function opened(server: FileServer, options: UrlReaderOptions = {}): Promise<Source> {
  const source = urlSource(server.url, { retryDelay: 1, pieceBytes: PIECE, ...options });
  await source.readStart('big.bin', 8);
  server.requests.length = 0;
  return source;
}

async function collect(source: Source, range: ByteRange, options?: ReadOptions): Promise<Uint8Array> {
  const bytes = new Uint8Array(range.end - range.begin);
  let offset = 0;
  for await (const chunk of source.stream('big.bin', [range], options)) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  expect(offset).toBe(bytes.length);
  return bytes;
}

async function expectWhole(source: Source): Promise<void> {
  expect(Buffer.compare(await collect(source, { begin: 0, end: SIZE }), big)).toBe(0);
}

/** Whether a request is the first one for its piece. */
function firstOfPiece(): (request: Request) => boolean {
  const seen = new Set<number>();
  return ({ range }) => {
    if (!range || range.end <= 8 || range.begin % PIECE > 0 || seen.has(range.begin)) return false;
    seen.add(range.begin);
    return true;
  };
}

describe('a large file', () => {
  test('is asked for in pieces, four at once, and comes in order', async () => {
    let most = 0;
    const server = await start({
      delay() {
        most = Math.max(most, server.numOpen());
        return most < 4 ? 100 : 1; // until all four are there, however long a busy machine takes
      },
    });
    await expectWhole(await opened(server));
    expect(most).toBe(4);
    const asked = server.requests.map(({ range }) => range!).sort((a, b) => a.begin - b.begin);
    const pieces = Array.from({ length: NUM_PIECES }, (_, i) => i * PIECE);
    expect(asked).toEqual(pieces.map((begin) => ({ begin, end: Math.min(begin + PIECE, SIZE) })));
  });

  test('is not asked for further ahead than four pieces, however slow the reader is', async () => {
    const server = await start();
    const source = await opened(server);
    const controller = new AbortController();
    for await (const _ of source.stream('big.bin', [{ begin: 0, end: SIZE }], {
      signal: controller.signal,
    })) {
      await expect.poll(() => server.requests.length).toBe(4);
      await new Promise((resolve) => setTimeout(resolve, 100));
      break;
    }
    expect(server.requests.length).toBe(4);
    await expect.poll(server.numOpen, { interval: 5 }).toBe(0);
  });

  test('takes the memory of four pieces, whatever its size', async () => {
    const server = await start({}, new Uint8Array(96 * PIECE));
    const buffers = new Set<ArrayBufferLike>();
    for await (const chunk of (await opened(server)).stream('big.bin', [{ begin: 0, end: 96 * PIECE }])) {
      expect(chunk.buffer.byteLength).toBeLessThanOrEqual(PIECE);
      buffers.add(chunk.buffer);
    }
    expect(buffers.size).toBeLessThanOrEqual(4);
  });

  test('whose pieces all break is asked for the rest of each', async () => {
    const isFirst = firstOfPiece();
    const server = await start({ cutAfter: (request) => (isFirst(request) ? 10_000 : undefined) });
    await expectWhole(await opened(server));
    expect(server.requests.length).toBe(2 * NUM_PIECES);
    for (const { range } of server.requests) expect(range!.begin % PIECE).toBeLessThanOrEqual(10_000);
  });

  test('on a server that falls silent is asked for again', async () => {
    const isFirst = firstOfPiece();
    const server = await start({ stallAfter: (request) => (isFirst(request) ? 30_000 : undefined) });
    await expectWhole(await opened(server, { maxSilence: 200 }));
    await expect.poll(server.numOpen, { interval: 5 }).toBe(0);
  });

  test('on a server that is slow, but not silent, is read to its end', async () => {
    const server = await start({ delay: () => 75 }); // forty times for the piece: more than it may be silent
    const source = await opened(server, { maxSilence: 2500, pieceBytes: 10 * PIECE });
    const part = await collect(source, { begin: 0, end: 10 * PIECE });
    expect(Buffer.compare(part, big.subarray(0, 10 * PIECE))).toBe(0);
    expect(server.requests).toHaveLength(1);
  });

  test('on a server that accepts and never answers is given up', async () => {
    const server = await start({ answer: ({ range }) => range!.end > 8 });
    const reading = collect(await opened(server, { maxSilence: 20 }), { begin: 0, end: SIZE });
    await expect(reading).rejects.toThrow(SourceError);
    await expect(reading).rejects.toThrow(/nothing came for 0\.02 seconds.*Gave up after 5 tries/);
  });

  test('is given up at once when one piece fails for good, and nothing stays open', async () => {
    const answer = ({ range }: Request, response: ServerResponse) => {
      if (range!.begin !== 2 * PIECE) return false;
      response.writeHead(403).end();
      return true;
    };
    const server = await start({ answer, delay: ({ range }) => (range!.end > 8 ? 60_000 : 0) });
    const reading = collect(await opened(server), { begin: 0, end: SIZE });
    await expect(reading).rejects.toThrow(/answered 403/);
    await expect.poll(server.numOpen, { interval: 5 }).toBe(0);
    expect(server.requests.length).toBeLessThanOrEqual(4);
  });

  test('is left at once by an abort, in whatever state its pieces are', async () => {
    const answer = ({ range, index }: Request, response: ServerResponse) => {
      if (range!.end <= 8 || index % 4 !== 3) return false;
      response.writeHead(429, { 'Retry-After': '60' }).end(); // one piece waits for its next try
      return true;
    };
    const server = await start({ answer, stallAfter: ({ range }) => (range!.end > 8 ? 100 : undefined) });
    const source = await opened(server, { maxSilence: 600_000 });
    const reason = new Error('changed my mind');
    const controller = new AbortController();
    const reading = collect(source, { begin: 0, end: SIZE }, { signal: controller.signal });
    await expect.poll(() => server.requests.length, { interval: 5 }).toBe(4);
    await new Promise((resolve) => setTimeout(resolve, 50)); // for the answers to come
    controller.abort(reason);
    // Waiting for any piece would take longer than the test runner does.
    await expect(reading).rejects.toBe(reason);
    await expect.poll(server.numOpen, { interval: 5 }).toBe(0);
    const { length } = server.requests;
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(server.requests.length).toBe(length);
  });

  test.each([
    ['ETag', ({ index }: Request) => ({ ETag: index < 4 ? '"one"' : '"two"' })],
    [
      'size',
      ({ index, range }: Request): Record<string, string> => ({
        'Content-Range': `bytes ${range!.begin}-${range!.end - 1}/${index < 4 ? SIZE : SIZE + 1}`,
      }),
    ],
  ])('that changes its %s on the way is an error', async (_, headers) => {
    const server = await start({ headers });
    const reading = collect(await opened(server), { begin: 0, end: SIZE });
    await expect(reading).rejects.toThrow(SourceError);
    await expect(reading).rejects.toThrow(/it changed while it was read\. Load it again/);
  });

  test('may have a weak ETag, which says nothing about its bytes', async () => {
    const server = await start({ headers: ({ index }) => ({ ETag: `W/"${index}"` }) });
    await expectWhole(await opened(server));
  });

  test('on a server that stops sending ranges is read from the whole file', async () => {
    const server = await start({
      answer({ range, index }, response) {
        if (range && index < 6) return false;
        response.writeHead(200).end(big);
        return true;
      },
    });
    await expectWhole(await opened(server));
  });

  test('that is shorter than it should be is an error that names the byte', async () => {
    const reading = collect(await opened(await start()), { begin: 0, end: SIZE + 5 });
    await expect(reading).rejects.toThrow(CorruptCheckpointError);
    await expect(reading).rejects.toThrow(/ends at byte 1000003, wanted bytes up to 1000008/);
  });
});

describe('a small file', () => {
  test('that breaks is read on from where it stopped', async () => {
    const server = await start({ cutAfter: ({ index }) => (index < 6 ? 100_000 : undefined) });
    const source = urlSource(server.url, { retryDelay: 1 });
    expect(Buffer.compare((await source.readFile('big.bin'))!, big)).toBe(0);
    const begins = server.requests.map(({ range }) => range?.begin ?? 0);
    expect(begins).toEqual([...begins].sort((a, b) => a - b));
    expect(begins.at(-1)).toBeGreaterThan(0);
  });
});
