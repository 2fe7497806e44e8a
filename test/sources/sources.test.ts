import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { CorruptCheckpointError, InvalidInputError, SourceError } from '../../src/errors.ts';
import { folder } from '../../src/node.ts';
import { openSource } from '../../src/sources/open-source.ts';
import type { ByteRange, ReadOptions, Source } from '../../src/sources/source.ts';
import { urlSource } from '../../src/sources/url-source.ts';
import { type Behaviour, type FileServer, serve } from './file-server.ts';

const SIZE = 3_000_000;
const big = new Uint8Array(SIZE);
for (let i = 0; i < SIZE; i++) big[i] = (i * 2654435761) >>> 13;
const config = new TextEncoder().encode('{"model_type":"test"}');
const files = new Map<string, Uint8Array>([
  ['config.json', config],
  ['big.bin', big],
  ['empty.bin', new Uint8Array(0)],
  ['sub/weird name#?%.bin', config],
]);

/** All bytes of some ranges, range by range; chunks are copied, since they are valid only until the next one. */
async function collect(
  source: Source,
  name: string,
  ranges: ByteRange[],
  options?: ReadOptions,
): Promise<Uint8Array[]> {
  const parts = ranges.map(({ begin, end }) => new Uint8Array(end - begin));
  let index = 0;
  let offset = 0;
  for await (const chunk of source.stream(name, ranges, options)) {
    while (offset === parts[index]!.length) {
      index += 1;
      offset = 0;
    }
    parts[index]!.set(chunk, offset); // throws when a chunk crosses the end of its range
    offset += chunk.length;
  }
  return parts;
}

async function expectRanges(source: Source, ranges: ByteRange[]): Promise<void> {
  const parts = await collect(source, 'big.bin', ranges);
  for (const [index, { begin, end }] of ranges.entries()) {
    expect(Buffer.compare(parts[index]!, big.subarray(begin, end)), `range ${begin} to ${end}`).toBe(0);
  }
}

const servers: FileServer[] = [];

async function serveFiles(behaviour: Behaviour = {}): Promise<FileServer> {
  const server = await serve(files, behaviour);
  servers.push(server);
  return server;
}

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'shaderloom-sources-'));
  await mkdir(join(directory, 'sub'));
  for (const [name, bytes] of files) await writeFile(join(directory, name), bytes);
});
afterAll(() => rm(directory, { recursive: true }));

function pageFiles(prefix: string): File[] {
  return [...files].map(([name, bytes]) => {
    const file = new File([bytes as Uint8Array<ArrayBuffer>], name.split('/').at(-1)!);
    Object.defineProperty(file, 'webkitRelativePath', { value: prefix + name });
    return file;
  });
}

const kinds: [string, () => Promise<Source>][] = [
  ['a folder in Node', async () => folder(directory)],
  ['the files of a page', async () => openSource(pageFiles('my model/'))],
  ['the files of a page, nested', async () => openSource(pageFiles('downloads/my model/'))],
  ['a server', async () => openSource((await serveFiles()).url)],
  ['a server without byte ranges', async () => openSource((await serveFiles({ ranges: false })).url)],
];

describe.each(kinds)('%s', (_, open) => {
  test('reads small files, the start of files and their sizes', async () => {
    const source = await open();
    expect(await source.readFile('config.json')).toEqual(config);
    expect(await source.readFile('sub/weird name#?%.bin')).toEqual(config);
    expect(await source.readFile('empty.bin')).toEqual(new Uint8Array(0));
    expect(await source.readStart('config.json', 1000)).toEqual({ bytes: config, size: config.length });
    expect(await source.readStart('empty.bin', 10)).toEqual({ bytes: new Uint8Array(0), size: 0 });
    const start = await source.readStart('big.bin', 100_000);
    expect(Buffer.compare(start!.bytes, big.subarray(0, 100_000))).toBe(0);
    expect([SIZE, undefined]).toContain(start?.size);
  });

  test('has nothing to say about a file that is not there', async () => {
    const source = await open();
    expect(await source.readFile('tokenizer.json')).toBeUndefined();
    expect(await source.readStart('tokenizer.json', 10)).toBeUndefined();
    await expect(collect(source, 'tokenizer.json', [{ begin: 0, end: 1 }])).rejects.toThrow(SourceError);
    await expect(collect(source, 'tokenizer.json', [{ begin: 0, end: 1 }])).rejects.toThrow(
      /no (such )?file/,
    );
  });

  test('streams any ascending ranges', async () => {
    const source = await open();
    await expectRanges(source, []);
    await expectRanges(source, [{ begin: 0, end: SIZE }]);
    await expectRanges(source, [
      { begin: 5, end: 6 },
      { begin: 6, end: 6 },
      { begin: 6, end: 90_001 },
      { begin: 100_000, end: 100_003 },
      { begin: 2_999_999, end: SIZE },
    ]);
    const cuts = fc.uniqueArray(fc.nat(SIZE), { maxLength: 12 }).map((cuts) => {
      cuts.sort((a, b) => a - b);
      return cuts.slice(1).flatMap((end, index) => (index % 3 === 2 ? [] : [{ begin: cuts[index]!, end }]));
    });
    await fc.assert(
      fc.asyncProperty(cuts, (ranges) => expectRanges(source, ranges)),
      { numRuns: 3 },
    );
  });

  test('refuses a range that the file does not have', async () => {
    const source = await open();
    for (const range of [
      { begin: SIZE - 10, end: SIZE + 1 },
      { begin: SIZE + 5, end: SIZE + 6 },
      { begin: 0, end: 2 * SIZE },
    ]) {
      const reading = collect(source, 'big.bin', [range]);
      await expect(reading).rejects.toThrow(CorruptCheckpointError);
      await expect(reading).rejects.toThrow(/truncated/);
    }
  });

  test('refuses names that leave its folder', async () => {
    const source = await open();
    for (const name of [
      '../config.json',
      '/config.json',
      'sub/../../x',
      'a\\b',
      'c:x',
      '',
      '.',
      'sub//x',
      'x\0',
    ]) {
      await expect((async () => source.readFile(name))()).rejects.toThrow(SourceError);
      await expect((async () => source.readStart(name, 1))()).rejects.toThrow(/refused to read/);
      await expect((async () => collect(source, name, [{ begin: 0, end: 1 }]))()).rejects.toThrow(
        /refused to read/,
      );
    }
  });

  test('refuses to read a huge file whole', async () => {
    const source = await open();
    await expect(source.readFile('big.bin', { maxBytes: 1000 })).rejects.toThrow(
      /larger than the 1000 bytes/,
    );
  });

  test('stops with the reason of its signal, before and while it reads', async () => {
    const source = await open();
    const reason = new Error('changed my mind');
    const aborted = AbortSignal.abort(reason);
    await expect(source.readFile('config.json', { signal: aborted })).rejects.toBe(reason);
    await expect(source.readStart('config.json', 9, { signal: aborted })).rejects.toBe(reason);
    await expect(collect(source, 'big.bin', [{ begin: 0, end: 9 }], { signal: aborted })).rejects.toBe(
      reason,
    );
    const controller = new AbortController();
    let numChunks = 0;
    const ranges = [
      { begin: 0, end: 10 },
      { begin: 10, end: SIZE },
    ];
    const reading = async () => {
      for await (const _ of source.stream('big.bin', ranges, { signal: controller.signal })) {
        numChunks += 1;
        controller.abort(reason);
      }
    };
    await expect(reading()).rejects.toBe(reason);
    expect(numChunks).toBe(1);
  });
});

describe('a server', () => {
  const quick = (server: FileServer) => urlSource(server.url, { retryDelay: 1 });
  const whole = [{ begin: 0, end: SIZE }];

  test('is asked once for ranges that are close together, once more for one that is far', async () => {
    const server = await serveFiles();
    await collect(openSource(server.url), 'big.bin', [
      { begin: 10, end: 20 },
      { begin: 20, end: 30 },
      { begin: 1000, end: 2000 },
      { begin: 2_500_000, end: 2_500_001 },
    ]);
    expect(server.requests.map(({ range }) => range)).toEqual([
      { begin: 10, end: 2000 },
      { begin: 2_500_000, end: 2_500_001 },
    ]);
  });

  test('without byte ranges is read through once', async () => {
    const server = await serveFiles({ ranges: false });
    await expectRanges(openSource(server.url), [
      { begin: 10, end: 20 },
      { begin: 1_500_000, end: 1_600_000 },
      { begin: 2_900_000, end: SIZE },
    ]);
    expect(server.requests).toHaveLength(1);
  });

  test('without byte ranges is left as soon as a start is read', async () => {
    const files = new Map([['big.bin', new Uint8Array(60_000_000)]]);
    const server = await serve(files, { ranges: false });
    servers.push(server);
    const start = await openSource(server.url).readStart('big.bin', 1000);
    expect(start?.bytes.length).toBe(1000);
    await expect.poll(server.numOpen, { interval: 20 }).toBe(0);
    expect(server.sentBytes()).toBeLessThan(20_000_000);
  });

  test('is left as soon as the reader stops, and sends no faster than it is read', async () => {
    const files = new Map([['big.bin', new Uint8Array(60_000_000)]]);
    const server = await serve(files);
    servers.push(server);
    for await (const _ of openSource(server.url).stream('big.bin', [{ begin: 0, end: 60_000_000 }])) {
      await new Promise((resolve) => setTimeout(resolve, 200));
      break;
    }
    await expect.poll(server.numOpen, { interval: 20 }).toBe(0);
    expect(server.sentBytes()).toBeLessThan(20_000_000);
  });

  test('gets the query string of the folder with every file', async () => {
    const server = await serveFiles();
    const source = openSource(`${server.url}/sub?token=a%20b&x#hash`);
    expect(await source.readFile('weird name#?%.bin')).toEqual(config);
    expect(server.requests[0]?.url).toBe('/sub/weird%20name%23%3F%25.bin?token=a%20b&x');
    expect(source.label).toBe(`${server.url}/sub/?…`);
  });

  test.each([true, false])(
    'that breaks connections is asked for the rest (byte ranges: %s)',
    async (ranges) => {
      const cutAfter = fc.array(fc.nat(SIZE), { minLength: 3, maxLength: 3 });
      await fc.assert(
        fc.asyncProperty(cutAfter, async (cuts) => {
          const server = await serveFiles({ ranges, cutAfter: ({ index }) => cuts[index] });
          const source = quick(server);
          await expectRanges(source, whole);
          for (const [index, { range }] of server.requests.entries()) {
            if (ranges && index > 0)
              expect(range!.begin).toBeGreaterThanOrEqual(server.requests[index - 1]!.range!.begin);
          }
          const small = await serveFiles({ cutAfter: ({ index }) => (index < 2 ? 5 : undefined) });
          expect(await quick(small).readFile('config.json')).toEqual(config);
          expect((await quick(small).readStart('config.json', 10))?.bytes).toEqual(config.subarray(0, 10));
        }),
        { numRuns: 4 },
      );
    },
  );

  test('that always breaks at the same byte is given up', async () => {
    const server = await serveFiles({ ranges: false, cutAfter: () => 70_000 });
    const reading = collect(quick(server), 'big.bin', whole);
    await expect(reading).rejects.toThrow(SourceError);
    await expect(reading).rejects.toThrow(
      /big\.bin: the connection broke at byte \d+ .* Gave up after 5 tries/,
    );
    // A first try that may have brought bytes, and five that brought no new one.
    expect(server.requests.length).toBeLessThanOrEqual(10);
  });

  test.each([429, 503, 500, 408])('that answers %i is asked again', async (status) => {
    const server = await serveFiles({
      answer: ({ index }, response) => {
        if (index % 3 === 2) return false;
        response.writeHead(status, { 'Retry-After': '0' }).end('busy');
        return true;
      },
    });
    const source = quick(server);
    expect(await source.readFile('config.json')).toEqual(config);
    expect((await source.readStart('config.json', 3))?.bytes).toEqual(config.subarray(0, 3));
    await expectRanges(source, whole);
    expect(server.requests).toHaveLength(9);
  });

  test('is not asked again before it wishes', async () => {
    const server = await serveFiles({
      answer: ({ index }, response) => {
        if (index > 0) return false;
        response.writeHead(429, { 'Retry-After': '30' }).end();
        return true;
      },
    });
    const signal = AbortSignal.timeout(100);
    await expect(quick(server).readFile('config.json', { signal })).rejects.toMatchObject({
      name: 'TimeoutError',
    });
    expect(server.requests).toHaveLength(1);
  });

  test('that stays busy is given up with its status and address, and a signal ends the waiting', async () => {
    const server = await serveFiles({
      answer: (_, response) => {
        response.writeHead(503).end();
        return true;
      },
    });
    const reading = quick(server).readFile('config.json');
    await expect(reading).rejects.toThrow(SourceError);
    await expect(reading).rejects.toThrow(
      `${server.url}/config.json: the server answered 503 Service Unavailable. It is busy or has a fault: try again later. Gave up after 5 tries.`,
    );
    const signal = AbortSignal.timeout(20);
    const waiting = urlSource(server.url, { retryDelay: 60_000 }).readFile('config.json', { signal });
    await expect(waiting).rejects.toMatchObject({ name: 'TimeoutError' });
  });

  test.each([
    [401, /answered 401 Unauthorized\. The checkpoint is private or gated/],
    [403, /answered 403 Forbidden\. The checkpoint is private or gated/],
    [400, /answered 400 Bad Request\. Open this address in a browser/],
    [416, /answered 416/],
    [204, /answered 204/],
  ])('that answers %i is not asked again', async (status, message) => {
    const server = await serveFiles({
      answer: (_, response) => {
        response.writeHead(status).end();
        return true;
      },
    });
    const source = quick(server);
    for (const reading of [
      source.readFile('config.json'),
      source.readStart('config.json', 5),
      collect(source, 'big.bin', whole),
    ]) {
      await expect(reading).rejects.toThrow(SourceError);
      await expect(reading).rejects.toThrow(message);
    }
    expect(server.requests).toHaveLength(3);
  });

  test('that answers unknown paths with its own page has no such file', async () => {
    const server = await serveFiles({
      answer: (_, response) => {
        response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' }).end('<!doctype html>');
        return true;
      },
    });
    expect(await quick(server).readFile('config.json')).toBeUndefined();
    expect(await quick(server).readStart('config.json', 10)).toBeUndefined();
  });

  test('that announces more bytes than it sends gives a SourceError', async () => {
    const server = await serveFiles({
      answer: (_, response) => {
        response.writeHead(200, { 'Content-Length': '1000' });
        response.write('{}', () => response.destroy());
        return true;
      },
    });
    await expect(quick(server).readFile('config.json')).rejects.toThrow(/connection broke at byte 2/);
  });

  test('that announces fewer bytes than the file has gives a CorruptCheckpointError', async () => {
    const server = await serveFiles({
      answer: (_, response) => {
        response.writeHead(200, { 'Content-Length': '1000' }).end(big.subarray(0, 1000));
        return true;
      },
    });
    const reading = collect(quick(server), 'big.bin', whole);
    await expect(reading).rejects.toThrow(CorruptCheckpointError);
    await expect(reading).rejects.toThrow(/ends at byte 1000, wanted bytes up to 3000000/);
  });

  test('that sends short answers to a range is asked for the rest', async () => {
    const server = await serveFiles({
      answer: ({ range }, response) => {
        const end = Math.min(range!.end, range!.begin + 700_000);
        const headers = { 'Content-Range': `bytes ${range!.begin}-${end - 1}/${SIZE}` };
        response.writeHead(206, headers).end(big.subarray(range!.begin, end));
        return true;
      },
    });
    await expectRanges(quick(server), whole);
    expect(server.requests).toHaveLength(5);
  });

  test('that compresses is read correctly, whatever its Content-Length says', async () => {
    const zipped = gzipSync(big);
    const server = await serveFiles({
      answer: (_, response) => {
        response.writeHead(200, { 'Content-Encoding': 'gzip', 'Content-Length': zipped.length }).end(zipped);
        return true;
      },
    });
    const source = quick(server);
    await expectRanges(source, [{ begin: 1000, end: SIZE }]);
    expect((await source.readStart('big.bin', 1000))?.size).toBeUndefined();
    expect((await source.readFile('big.bin'))?.length).toBe(SIZE);
  });

  test('that compresses a byte range is refused', async () => {
    const server = await serveFiles({ headers: () => ({ 'Content-Encoding': 'gzip' }) });
    await expect(collect(quick(server), 'big.bin', whole)).rejects.toThrow(/byte range compressed \(gzip\)/);
  });

  test('that sends other bytes than asked for is refused', async () => {
    const server = await serveFiles({ headers: () => ({ 'Content-Range': `bytes 7-8/${SIZE}` }) });
    const ranges = [{ begin: 100, end: 200 }];
    await expect(collect(quick(server), 'big.bin', ranges)).rejects.toThrow(
      /asked for bytes from 100.*bytes 7-8/,
    );
  });

  test('whose pages cannot see Content-Range is read as well', async () => {
    const server = await serveFiles({
      answer: ({ range }, response) => {
        response.writeHead(206).end(big.subarray(range!.begin, range!.end));
        return true;
      },
    });
    expect(await quick(server).readStart('big.bin', 4)).toEqual({
      bytes: big.subarray(0, 4),
      size: undefined,
    });
    await expectRanges(quick(server), [{ begin: 1000, end: 5000 }]);
    await expect(collect(quick(server), 'big.bin', [{ begin: SIZE, end: SIZE + 1 }])).rejects.toThrow(
      /truncated/,
    );
  });

  test('whose file changes while it is read gives an error', async () => {
    let size = SIZE;
    const server = await serveFiles({
      headers: ({ range }) => {
        size -= 1;
        return { 'Content-Range': `bytes ${range!.begin}-${range!.end - 1}/${size}` };
      },
    });
    const source = quick(server);
    await source.readStart('big.bin', 10);
    await expect(source.readStart('big.bin', 10)).rejects.toThrow(/it changed while it was read/);
  });

  test('that does not exist gives an error soon', async () => {
    const server = await serveFiles();
    await server.close();
    servers.length = 0;
    const reading = urlSource(server.url, { retryDelay: 1 }).readFile('config.json');
    await expect(reading).rejects.toThrow(SourceError);
    await expect(reading).rejects.toThrow(/config\.json: no answer \(.*ECONNREFUSED.* Gave up after 2 tries/);
  });
});

describe('a folder in Node', () => {
  test('streams in chunks of at most 4 MiB', async () => {
    const file = join(directory, 'sparse.bin');
    await writeFile(file, '');
    await truncate(file, 20_000_000);
    let length = 0;
    for await (const chunk of folder(directory).stream('sparse.bin', [{ begin: 1, end: 20_000_000 }])) {
      expect(chunk.buffer.byteLength).toBeLessThanOrEqual(4 * 1024 * 1024);
      length += chunk.length;
    }
    expect(length).toBe(19_999_999);
  });

  test('that is not there, or is a file, or holds a folder in place of a file, is told', async () => {
    await expect(folder(join(directory, 'nowhere')).readFile('config.json')).rejects.toThrow(
      /no such folder/,
    );
    await expect(folder(join(directory, 'config.json')).readFile('config.json')).rejects.toThrow(
      /this is a file/,
    );
    await expect(folder(directory).readFile('sub')).rejects.toThrow(/cannot be read .*EISDIR/);
    await expect(folder(join(directory, 'nowhere')).list?.()).rejects.toThrow(SourceError);
  });
});

describe('files of a page', () => {
  test('are listed by their names in the folder that has config.json', async () => {
    const names = await openSource([...pageFiles('a/b/'), new File([], 'readme.md')]).list?.();
    expect(names).toEqual([...files.keys()]);
  });

  test('chosen without their folder go by their names', async () => {
    const source = openSource([new File(['{}'], 'config.json'), new File(['x'], 'model.safetensors')]);
    expect(await source.list?.()).toEqual(['config.json', 'model.safetensors']);
  });

  test('of several checkpoints are refused', async () => {
    const source = openSource([...pageFiles('all/a/'), ...pageFiles('all/b/')]);
    await expect(source.readFile('config.json')).rejects.toThrow(
      /several checkpoints, in all\/a\/, all\/b\/: choose/,
    );
  });

  test('take the uppermost checkpoint when a checkpoint holds others', async () => {
    const source = openSource([...pageFiles('all/original/'), ...pageFiles('all/')]);
    expect(await source.list?.()).toContain('original/config.json');
  });
});

describe('what is not a source', () => {
  test.each([
    ['my/models/qwen3', /"my\/models\/qwen3" is neither a URL nor a name.*folder\(\)/],
    ['file:///models/qwen3', /is a file URL/],
    ['https://me:secret@host/x', /https:\/\/host\/x: fetch sends no user name/],
    [undefined, /Cannot open a checkpoint from undefined/],
    [[], /a list of 0/],
    [['config.json'], /a list of 1/],
    [{}, /an object of class Object/],
  ])('is refused: %j', (from, message) => {
    const open = () => openSource(from as string);
    expect(open).toThrow(InvalidInputError);
    expect(open).toThrow(message);
  });
});
