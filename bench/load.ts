/**
 * @file `npm run bench:load` and `npm run bench:memory`: a checkpoint of random weights, served by another process, is loaded in Node
 * or (`--chrome`) in a real browser. `load` compares bytes a second with a plain fetch that forgets the bytes, in turns within
 * one run; `memory` compares the loader's own report with what Linux and the debugger see from outside.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { WantedFormat } from '../src/index.ts';
import { measureMemory } from './load-memory.ts';
import { type Place, startChromePlace, startNodePlace } from './load-place.ts';
import { writeSyntheticCheckpoint } from './synthetic-checkpoint.ts';

const { values: options } = parseArgs({
  options: {
    /** Compare memory in place of speed. */
    memory: { type: 'boolean', default: false },
    chrome: { type: 'boolean', default: false },
    /** Size of the checkpoint that is written to a temporary folder. */
    gib: { type: 'string' },
    /** A checkpoint that is there already. */
    from: { type: 'string' },
    /** Write the checkpoint there, and leave it. */
    write: { type: 'string' },
    runs: { type: 'string', default: '3' },
    /** Formats to load as, `published` for the checkpoint's own. */
    weights: { type: 'string', default: 'published,int4' },
    /** A file for the figures. */
    json: { type: 'string' },
  },
});

interface Row {
  what: string;
  megabytesPerSecond: number[];
}

const SERVER = fileURLToPath(new URL('../scripts/serve-folder.mjs', import.meta.url));
const servers: ChildProcess[] = [];

/** Serves a folder from a process of its own. Resolves to its address. */
function serveFolder(directory: string): Promise<string> {
  const server = spawn(process.execPath, [SERVER, directory], { stdio: ['ignore', 'pipe', 'inherit'] });
  servers.push(server);
  return new Promise((resolve, reject) => {
    server.stdout.once('data', (text) => resolve(String(text).trim()));
    server.once('exit', (code) => reject(new Error(`the server ended with ${code}`)));
  });
}

async function shardNames(directory: string): Promise<string[]> {
  const index = JSON.parse(await readFile(join(directory, 'model.safetensors.index.json'), 'utf8'));
  return [...new Set(Object.values<string>(index.weight_map))];
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

async function measureSpeed(
  place: Place,
  url: string,
  shards: readonly string[],
  formats: readonly string[],
): Promise<Row[]> {
  const urls = shards.map((name) => `${url}/${name}`);
  const discarded: Row = { what: 'fetch and forget', megabytesPerSecond: [] };
  const rows = formats.map((format): Row => ({ what: `load as ${format}`, megabytesPerSecond: [] }));
  // Once without counting: the server's files come from memory from then on.
  await place.discard({ kind: 'discard', urls });
  for (let run = 0; run < Number(options.runs); run++) {
    const { bytesRead, seconds } = await place.discard({ kind: 'discard', urls });
    discarded.megabytesPerSecond.push(bytesRead / 1e6 / seconds);
    for (const [i, format] of formats.entries()) {
      await place.collectGarbage();
      const report = await place.load({ kind: 'load', url, weights: wanted(format) });
      rows[i]!.megabytesPerSecond.push(report.megabytesPerSecond);
    }
  }
  const all = [discarded, ...rows];
  console.log(`${place.name}: MB/s of ${options.runs} runs in turns`);
  console.log('                         median      min      max   time of fetch and forget');
  for (const { what, megabytesPerSecond: speeds } of all) {
    const figures = [median(speeds), Math.min(...speeds), Math.max(...speeds)];
    const ratio = median(discarded.megabytesPerSecond) / figures[0]!;
    console.log(
      `  ${what.padEnd(20)}${figures.map((f) => f.toFixed(0).padStart(9)).join('')}${ratio.toFixed(2).padStart(13)}x`,
    );
  }
  return all;
}

const wanted = (format: string): WantedFormat | undefined =>
  format === 'published' ? undefined : (format as WantedFormat);

const gibibytes = Number(options.gib ?? (options.memory ? 4 : 1));
const temporary = await mkdtemp(join(tmpdir(), 'load-'));
let place: Place | undefined;
try {
  const directory = options.from ?? options.write ?? join(temporary, 'large');
  if (!options.from) {
    const written = await writeSyntheticCheckpoint(directory, { bytes: gibibytes * 2 ** 30 });
    console.log(
      `${(written.weightBytes / 2 ** 30).toFixed(2)} GiB in ${written.numTensors} tensors and ${written.shards.length} shards; ` +
        `the largest tensor has ${(written.largestTensorBytes / 1e6).toFixed(0)} MB`,
    );
  }
  // A small checkpoint first, so that adapters, kernels and compilers are there when the measurement begins.
  const small = join(temporary, 'small');
  await writeSyntheticCheckpoint(small, { bytes: 32 << 20 });
  const [url, smallUrl] = [await serveFolder(directory), await serveFolder(small)];
  const shards = await shardNames(directory);
  const formats = options.weights.split(',');
  place = await (options.chrome ? startChromePlace() : startNodePlace());
  for (const format of formats) await place.load({ kind: 'load', url: smallUrl, weights: wanted(format) });
  const figures = [];
  if (options.memory) {
    for (const format of formats) {
      const { isWithin, ...figure } = await measureMemory(
        place,
        url,
        `${url}/${shards[0]}`,
        format,
        wanted(format),
      );
      figures.push(figure);
      if (!isWithin) process.exitCode = 1;
    }
  } else {
    figures.push(...(await measureSpeed(place, url, shards, formats)));
  }
  if (options.json)
    await writeFile(options.json, `${JSON.stringify({ place: place.name, figures }, null, 2)}\n`);
} finally {
  await place?.close();
  for (const server of servers) {
    server.removeAllListeners('exit');
    server.kill();
  }
  await rm(temporary, { recursive: true, force: true });
}
