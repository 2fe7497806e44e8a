/**
 * Random scripts of faults on real servers. Each ends in exactly the right bytes of one version of the file, or in a typed
 * error; never in other bytes, in a hang, or with a request left running.
 */

import type { ServerResponse } from 'node:http';
import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { ShaderloomError } from '../../src/errors.ts';
import type { ByteRange } from '../../src/sources/source.ts';
import { urlSource } from '../../src/sources/url-source.ts';
import { seededRandom } from '../seeded-random.ts';
import { type FileServer, type Request, serve } from './file-server.ts';

const NUM_SCRIPTS = 200;
const NUM_AT_ONCE = 4;
/** Milliseconds; far more than a busy machine takes to answer, or every script would end in silence. */
const MAX_SILENCE = 400;
/** In one script, since each takes its time. */
const MAX_SILENCES = 2;
const SIZE = 150_007;
const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));

function fileOf(multiplier: number, size = SIZE): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => Math.imul(i, multiplier) >>> 13);
}
const versions = [fileOf(2654435761), fileOf(2246822519), fileOf(3266489917, SIZE - 1000)];

type Headers = Record<string, string | number>;

interface Answer {
  response: ServerResponse;
  request: Request;
  /** The right answer, which a fault bends. */
  status: number;
  headers: Headers;
  body: Uint8Array;
  file: Uint8Array;
  /** Another origin that serves the same. */
  elsewhere: string;
  random: () => number;
}

const at = ({ body, random }: Answer) => Math.floor(random() * body.length);
const pick = <T>(random: () => number, values: readonly T[]): T =>
  values[Math.floor(random() * values.length)]!;

function send({ response, status, headers, body }: Answer): void {
  response.writeHead(status, headers).end(body);
}

/** What a server, or the way to it, can do. */
const FAULTS: Record<string, (answer: Answer) => void> = {
  cut(answer) {
    const { response, status, headers, body } = answer;
    response.writeHead(status, headers).write(body.subarray(0, at(answer)), () => response.destroy());
  },
  stall(answer) {
    const { response, status, headers, body } = answer;
    response.writeHead(status, headers).write(body.subarray(0, at(answer)));
  },
  neverAnswer: () => undefined,
  hangUp: ({ response }) => response.destroy(),
  busy(answer) {
    const { response, random } = answer;
    const patience = pick(random, [undefined, '0', 'Thu, 01 Jan 1970 00:00:00 GMT', 'soon', '-5']);
    response.writeHead(
      pick(random, [408, 425, 429, 500, 502, 503]),
      patience ? { 'Retry-After': patience } : {},
    );
    response.end('busy');
  },
  short(answer) {
    const body = answer.body.subarray(0, 1 + at(answer));
    const { 'Content-Length': _, ...headers } = answer.headers;
    if (answer.status === 206) send({ ...answer, headers, body });
    else send(answer);
  },
  announceMore: (answer) =>
    send({ ...answer, headers: { ...answer.headers, 'Content-Length': answer.body.length + 10 } }),
  announceLess(answer) {
    if (answer.status !== 206) return send(answer); // of a whole file, nothing tells that there should be more
    send({ ...answer, headers: { ...answer.headers, 'Content-Length': 1 + at(answer) } });
  },
  whole(answer) {
    const { 'Content-Range': _, 'Content-Length': __, ...headers } = answer.headers;
    send({ ...answer, status: 200, headers, body: answer.file });
  },
  redirect({ response, request, elsewhere }) {
    response.writeHead(302, { Location: `${elsewhere}${request.url}` }).end();
  },
  async throttle({ response, status, headers, body }) {
    response.writeHead(status, headers);
    for (let begin = 0; begin < body.length && !response.destroyed; begin += 20_000) {
      await setTimeout(1);
      response.write(body.subarray(begin, begin + 20_000));
    }
    response.end();
  },
  empty: (answer) => send({ ...answer, headers: {}, body: new Uint8Array(0) }),
  refuse: ({ response, random }) =>
    void response.writeHead(pick(random, [400, 401, 403, 404, 410, 416, 501])).end(),
  page: ({ response }) =>
    void response.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html>'),
  otherPlace: (answer) => send({ ...answer, headers: { ...answer.headers, 'Content-Range': 'bytes 7-8/9' } }),
  nonsense: (answer) => send({ ...answer, headers: { ...answer.headers, 'Content-Range': 'bytes x-y/z' } }),
};
/** After the first of these nothing can be read, and for the others one must wait: they are rarer. */
const RARE = ['empty', 'refuse', 'page', 'otherPlace', 'stall', 'neverAnswer'];

async function startScript(random: () => number): Promise<{ server: FileServer; other: FileServer }> {
  const chance = pick(random, [0.1, 0.3, 0.5, 0.8]);
  const hasRanges = random() < 0.8;
  const faults = Object.keys(FAULTS).filter((name) => random() < (RARE.includes(name) ? 0.1 : 0.6));
  const etag = pick(random, ['strong', 'weak', 'none'] as const);
  const changesAt = random() < 0.3 ? Math.floor(random() * 12) : Number.POSITIVE_INFINITY;
  // Only a strong ETag tells two versions of one size apart, and only a Content-Range two of different size.
  const isTold =
    etag === 'strong' || (hasRanges && !faults.includes('whole') && !faults.includes('nonsense'));
  const newVersion = !isTold ? 0 : etag === 'strong' ? 1 + Math.floor(random() * 2) : 2;

  let silences = 0;

  function answer(request: Request, response: ServerResponse): boolean {
    const version = request.index >= changesAt ? newVersion : 0;
    const file = versions[version]!;
    const range = hasRanges ? request.range : undefined;
    const tag = { strong: `"v${version}"`, weak: 'W/"v"', none: undefined }[etag];
    const headers: Headers = tag === undefined ? {} : { ETag: tag };
    if (range && range.begin >= file.length) {
      response.writeHead(416, { ...headers, 'Content-Range': `bytes */${file.length}` }).end();
      return true;
    }
    const end = Math.min(range?.end ?? file.length, file.length);
    const body = file.subarray(range?.begin ?? 0, end);
    headers['Content-Length'] = body.length;
    if (range) headers['Content-Range'] = `bytes ${range.begin}-${end - 1}/${file.length}`;
    const right: Answer = {
      ...{ response, request, headers, body, file, random },
      status: range ? 206 : 200,
      elsewhere: other.url,
    };
    const fault = faults.length > 0 && random() < chance ? pick(random, faults) : undefined;
    const isSilent = fault === 'stall' || fault === 'neverAnswer';
    if (isSilent) silences += 1;
    if (fault === undefined || (isSilent && silences > MAX_SILENCES)) send(right);
    else FAULTS[fault]!(right);
    return true;
  }

  const other: FileServer = await serve(new Map([['big.bin', versions[0]!]]), {
    answer(request, response) {
      const index = server.requests.length; // the same moment in the life of the file
      return answer({ ...request, index }, response);
    },
  });
  const server = await serve(new Map(), { answer });
  return { server, other };
}

type Ending = 'complete' | 'refused';

async function runScript(seed: number): Promise<Ending> {
  const random = seededRandom(seed);
  const { server, other } = await startScript(random);
  try {
    const source = urlSource(server.url, {
      retryDelay: 1,
      maxSilence: MAX_SILENCE,
      pieceBytes: pick(random, [16_384, 32_768, 100_000, 1_000_000]),
    });
    const cuts = Array.from({ length: 4 }, () => Math.floor(random() * (SIZE - 2000))).sort((a, b) => a - b);
    const ranges = random() < 0.5 ? [{ begin: 0, end: SIZE - 1000 }] : pairs(cuts);
    const parts: { begin: number; bytes: Uint8Array }[] = [];
    let ending: Ending = 'complete';
    try {
      const start = await source.readStart('big.bin', 1 + Math.floor(random() * 5000));
      if (start) parts.push({ begin: 0, bytes: start.bytes });
      parts.push(...(await collect(source.stream('big.bin', ranges), ranges)));
    } catch (error) {
      if (!(error instanceof ShaderloomError)) throw error;
      ending = 'refused';
    }
    const isOneVersion = versions.some((file) =>
      parts.every(
        ({ begin, bytes }) => Buffer.compare(bytes, file.subarray(begin, begin + bytes.length)) === 0,
      ),
    );
    expect(isOneVersion, 'bytes of one version').toBe(true);
    await expect.poll(() => server.numOpen() + other.numOpen(), { interval: 5 }).toBe(0);
    return ending;
  } finally {
    await Promise.all([server.close(), other.close()]);
  }
}

function pairs([a, b, c, d]: number[]): ByteRange[] {
  return [
    { begin: a!, end: b! },
    { begin: c!, end: d! },
  ];
}

async function collect(stream: AsyncIterable<Uint8Array>, ranges: readonly ByteRange[]) {
  const bytes = new Uint8Array(ranges.reduce((sum, { begin, end }) => sum + end - begin, 0));
  let offset = 0;
  for await (const chunk of stream) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  expect(offset).toBe(bytes.length);
  let used = 0;
  return ranges.map(({ begin, end }) => {
    used += end - begin;
    return { begin, bytes: bytes.subarray(used - (end - begin), used) };
  });
}

test(`${NUM_SCRIPTS} random scripts of faults end in the right bytes or in a typed error`, async () => {
  const endings: Record<Ending, number> = { complete: 0, refused: 0 };
  const scripts = Array.from({ length: NUM_SCRIPTS }, (_, i) => seed + i).values();
  const worker = async () => {
    for (const script of scripts) {
      const hang = new AbortController();
      const limit = setTimeout(60_000, undefined, { signal: hang.signal }).then(
        () => Promise.reject(new Error('hangs')),
        () => new Promise<never>(() => undefined),
      );
      try {
        endings[await Promise.race([runScript(script), limit])] += 1;
      } catch (error) {
        throw new Error(`Script ${script} (SEED=${script} repeats it first): ${(error as Error).message}`, {
          cause: error,
        });
      } finally {
        hang.abort();
      }
    }
  };
  await Promise.all(Array.from({ length: NUM_AT_ONCE }, worker));
  console.info(
    `fault scripts from seed ${seed}: ${endings.complete} complete, ${endings.refused} typed errors`,
  );
  expect(endings.complete).toBeGreaterThan(NUM_SCRIPTS / 4);
}, 300_000);
