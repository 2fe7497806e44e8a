/**
 * @file `npm run plan -- DIR|config.json [--weights FORMAT] [--context N] [--memory 24GiB] [--json] [--ops]`: what a model
 * would cost, and whether it fits, without a GPU and without its weights: from the headers of a checkpoint's files if they
 * are there, else from its config.json alone.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ShaderloomError } from '../../src/errors.ts';
import { printPlan } from '../../src/graph/print.ts';
import { familyOf } from '../../src/models/index.ts';
import { folder } from '../../src/node.ts';
import { filesOf } from '../../src/runtime/load/check-fit.ts';
import { contextThatFits, type Estimate, estimate } from '../../src/runtime/load/estimate.ts';
import { type Answer, findFit, fitError } from '../../src/runtime/load/fit.ts';
import { openModel } from '../../src/runtime/load/load.ts';
import type { LoadOptions } from '../../src/runtime/types.ts';
import { announcedResolver } from '../../src/weights/announced.ts';
import { uniformResolver } from '../../src/weights/resolve.ts';

const USAGE =
  'usage: npm run plan -- DIR|config.json [--weights FORMAT] [--context N] [--memory 24GiB] [--json] [--ops]\n' +
  'FORMAT of a folder with safetensors files: published (default), auto, bf16, f16, int8, int4 as they would be loaded; ' +
  'of a config.json: bf16, f16, f32, fp8, int4, int8 as they would be published';
/** The binding size of desktop adapters; a larger weight takes another dispatch. */
const DESKTOP_BINDING_BYTES = 2 ** 31;
const PREFILL_ROWS = 256;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      weights: { type: 'string' },
      context: { type: 'string' },
      memory: { type: 'string' },
      json: { type: 'boolean', default: false },
      ops: { type: 'boolean', default: false },
    },
  });
  const [path] = positionals;
  if (!path || positionals.length > 1) throw new ShaderloomError(USAGE);
  const config = await readConfig(path);
  const max = familyOf(config).config(config).maxPositionEmbeddings;
  const capacity = values.context === undefined ? Math.min(max, 4096) : Number(values.context);
  if (!Number.isSafeInteger(capacity) || capacity < 1)
    throw new ShaderloomError(`--context ${values.context}, wanted a positive integer`);
  const options = {
    capacity,
    kvFormat: 'f16',
    prefillRows: Math.min(PREFILL_ROWS, capacity),
    maxBindingBytes: DESKTOP_BINDING_BYTES,
  } as const;
  const memory = values.memory === undefined ? undefined : bytesOf(values.memory);
  const headers = (await hasTensors(path))
    ? await readHeaders(path, values.weights, capacity, memory)
    : undefined;
  const resolve =
    headers?.resolve ?? (values.weights ? uniformResolver(values.weights) : announcedResolver(config));
  const planned = estimate(config, resolve, options);
  if (values.json) {
    console.log(JSON.stringify({ ...planned.estimate, ...headers?.answer }, null, 2));
    return;
  }
  if (values.ops) console.log(`${printPlan(planned.decode)}\n`);
  console.log(table(planned.estimate, capacity));
  if (headers) console.log(headers.verdict);
  else if (memory !== undefined) console.log(fit(planned.estimate, capacity, max, memory));
}

/** What `loadModel` would say on a desktop adapter with this much memory. */
async function readHeaders(
  path: string,
  weights: string | undefined,
  contextLength: number,
  memory?: number,
) {
  const opened = await openModel(folder(path), {
    contextLength,
    // Checked where it is used.
    weights: weights as LoadOptions['weights'],
  });
  const space = {
    bindingBytes: DESKTOP_BINDING_BYTES,
    memoryBytes: memory,
    info: { isFallback: false },
  };
  const answer = findFit(opened, space);
  const { spec } = opened.variant(answer.chosen);
  const name = spec.family.architectures[0]!;
  const verdict = answer.fits
    ? neededText(answer, filesOf(opened), memory)
    : fitError(name, opened, answer).message;
  return { answer, resolve: spec.resolve, verdict: `\n${verdict}` };
}

function neededText(
  { needed, chosen, best }: Answer,
  { downloadBytes, storeBytes }: ReturnType<typeof filesOf>,
  memory: number | undefined,
): string {
  const where = memory === undefined ? '' : ` of ${gibibytes(memory)}`;
  return (
    `Weights ${chosen === 'published' ? 'as published' : `in ${chosen}`}, a context of ${best!.contextLength}: ` +
    `${gibibytes(needed.gpuBytes)}${where} on the GPU, including what loading takes for a while; ` +
    `${gibibytes(downloadBytes)} to download, ${gibibytes(storeBytes)} to store`
  );
}

/** Whether files with headers are beside the config. */
async function hasTensors(path: string): Promise<boolean> {
  if (!(await stat(path)).isDirectory()) return false;
  return (await readdir(path)).some((name) => name.endsWith('.safetensors'));
}

const UNITS: Readonly<Record<string, number>> = { GiB: 2 ** 30, MiB: 2 ** 20, GB: 1e9, MB: 1e6 };

function bytesOf(text: string): number {
  const [, number, unit] = text.match(/^(\d+(?:\.\d+)?) ?([GM]i?B)$/) ?? [];
  if (!number || !unit) throw new ShaderloomError(`--memory ${text}, wanted a size like 24GiB or 8GB`);
  return Number(number) * UNITS[unit]!;
}

const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(bytes < 2 ** 30 ? 3 : 1)} GiB`;

/** @param max the longest context that the model was made for */
function fit(e: Estimate, capacity: number, max: number, memory: number): string {
  const needed = e.weightBytes + e.activationBytes + e.kvBytesPerToken * capacity;
  const longest = contextThatFits(e, memory);
  const verdict = needed <= memory ? 'fits' : 'does not fit';
  return (
    `\n${gibibytes(needed)} with a context of ${capacity}: ${verdict} into ${gibibytes(memory)}; ` +
    (longest === undefined
      ? `the weights alone take ${gibibytes(e.weightBytes)}`
      : longest < max
        ? `the longest context that fits is ${longest} tokens`
        : `so does its longest context of ${max} tokens`)
  );
}

async function readConfig(path: string): Promise<Record<string, unknown>> {
  try {
    const file = (await stat(path)).isDirectory() ? join(path, 'config.json') : path;
    return JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  } catch (error) {
    throw new ShaderloomError(
      `${path} cannot be read as a config.json, or a folder that has one: ${(error as Error).message}`,
    );
  }
}

function table(e: Estimate, capacity: number): string {
  const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  const rows: [string, string][] = [
    ['dispatches per token', String(e.dispatchesPerToken)],
    ['  in each layer, at most', String(e.dispatchesPerLayer)],
    ['    of them attention', String(e.dispatchesPerAttention)],
    ['    of them MLP or experts', String(e.dispatchesPerMlp)],
    ['  outside the layers', String(e.dispatchesOutsideLayers)],
    ['weights', mebibytes(e.weightBytes)],
    ...Object.entries(e.weightBytesByFormat).map(([format, bytes]): [string, string] => [
      `  as ${format}`,
      mebibytes(bytes),
    ]),
    ['  read per token', mebibytes(e.activeWeightBytesPerToken)],
    [`KV cache of ${capacity} tokens`, mebibytes(e.kvBytesPerToken * capacity)],
    ['  per token', `${e.kvBytesPerToken} bytes`],
    ['activations, at most', mebibytes(e.activationBytes)],
  ];
  return rows.map(([name, value]) => `${name.padEnd(28)}${value.padStart(14)}`).join('\n');
}

await main().catch((error: unknown) => {
  console.error(error instanceof ShaderloomError ? error.message : error);
  process.exitCode = 1;
});
