/**
 * @file `node scripts/serve-folder.mjs DIR [PORT]`: a plain HTTP server of a folder's files for any page, with byte ranges, until
 * it is ended. Prints its address. For benchmarks: a process of its own, so that serving costs the loader nothing.
 */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream';

const [folder = '.', port = '0'] = process.argv.slice(2);
/** Caching gigabytes would measure the browser's disk. */
const HEADERS = {
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Allow-Headers': 'range',
  'Access-Control-Expose-Headers': 'Content-Range',
  'Access-Control-Max-Age': '3600',
  'Cache-Control': 'no-store',
};

const server = createServer(async (request, response) => {
  const name = decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname).slice(1);
  const path = join(folder, name);
  const size = /^[\w.-]+$/.test(name) ? (await stat(path).catch(() => undefined))?.size : undefined;
  if (request.method === 'OPTIONS') return response.writeHead(204, HEADERS).end();
  if (size === undefined) return response.writeHead(404, HEADERS).end();
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
  const begin = Number(first ?? 0);
  const end = last ? Math.min(Number(last) + 1, size) : size;
  if (begin >= size && first !== undefined) {
    return response.writeHead(416, { ...HEADERS, 'Content-Range': `bytes */${size}` }).end();
  }
  response.writeHead(first === undefined ? 200 : 206, {
    ...HEADERS,
    'Content-Length': end - begin,
    ...(first === undefined ? {} : { 'Content-Range': `bytes ${begin}-${end - 1}/${size}` }),
  });
  const options = { start: begin, end: Math.max(begin, end - 1), highWaterMark: 1 << 20 };
  return pipeline(createReadStream(path, options), response, () => undefined);
});
server.listen(Number(port), '127.0.0.1', () => {
  const address = server.address();
  console.log(`http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`);
});
