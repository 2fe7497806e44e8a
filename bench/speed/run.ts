/**
 * @file `npm run bench [-- --node] [--shapes S,M] [--weights int4,bf16] [--contexts 128,512] [--tokens N] [--runs N] [--models-only] [--full] [--variants] [--out FILE]`: kernels as fractions of what the adapter can do, and
 * whole models with random weights, in Chrome or in Node. With `--peers`: whole models beside other libraries instead. Writes a JSON, and
 * beside it a report for reading. `--batch 1,4,16 [--json FILE]`: sequences that decode side by side instead, of which only FILE is written.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import type { Page } from 'playwright-core';
import { gpu } from '../../src/node.ts';
import { startPageTest } from '../../test/page.ts';
import type { PeersResult } from '../peers/compare.ts';
import { peersReport } from '../peers/report.ts';
import { runPeers } from '../peers/run.ts';
import { runBatch } from './batch.ts';
import { htmlReport } from './report.ts';
import { SHAPES, type ShapeName } from './shapes.ts';
import { runSuite, type SuiteOptions, type SuiteResult } from './suite.ts';

const { values } = parseArgs({
  options: {
    node: { type: 'boolean', default: false },
    peers: { type: 'boolean', default: false },
    /** For a real GPU: published sizes, all contexts. Without it, what a software adapter does in minutes. */
    full: { type: 'boolean', default: false },
    /** Every variant of a product with one row; `full` has them always. */
    variants: { type: 'boolean', default: false },
    shapes: { type: 'string' },
    weights: { type: 'string' },
    contexts: { type: 'string' },
    tokens: { type: 'string' },
    runs: { type: 'string', default: '3' },
    /** Numbers of sequences that decode side by side. */
    batch: { type: 'string' },
    json: { type: 'string' },
    /** Whole models, no kernels. */
    'models-only': { type: 'boolean', default: false },
    out: { type: 'string' },
  },
});

const list = (text: string | undefined): string[] | undefined => text?.split(',').filter((s) => s !== '');
const DEFAULT_SHAPES = values.full ? ['qwen3-0.6b', 'qwen3-4b', 'qwen3-8b', 'qwen3-30b-a3b'] : ['deep', 'S'];
const PEER_SHAPES = values.full ? ['S', 'M', 'qwen3-0.6b'] : ['S', 'M'];
const shapes = (list(values.shapes) ?? (values.peers ? PEER_SHAPES : DEFAULT_SHAPES)) as ShapeName[];
const unknown = shapes.find((shape) => !Object.hasOwn(SHAPES, shape));
if (unknown !== undefined)
  throw new Error(`--shapes ${unknown}: there are ${Object.keys(SHAPES).join(', ')}`);

const options: SuiteOptions = {
  shapes,
  kernelShape: values.full ? 'qwen3-8b' : 'S',
  weights: (list(values.weights) ?? ['int4']) as SuiteOptions['weights'],
  contexts: list(values.contexts)?.map(Number) ?? (values.full ? [128, 512, 1024, 2048, 4096] : [128, 512]),
  tokens: Number(values.tokens ?? (values.full ? 64 : 12)),
  runs: Number(values.runs),
  kernelFormats: kernelFormats(),
  kernelRows: values.full ? [1, 2, 4, 8, 512] : [1, 4, 128],
  everyVariant: values.full || values.variants,
  kernelBytes: (values.full ? 512 : 8) * 2 ** 20,
};

function kernelFormats(): SuiteOptions['kernelFormats'] {
  if (values['models-only']) return [];
  const forAll = ['bf16', 'f16', 'fp8', 'int8', 'int4', 'Q8_0', 'Q6_K', 'Q4_K', 'Q4_0'] as const;
  return values.full ? forAll : ['bf16', 'int4', 'Q4_K', 'Q6_K'];
}

const onLine = (line: string): void => console.log(line);
const place = values.node ? 'node' : 'chrome';
if (values.peers) {
  const result = await comparePeers();
  await write(`peers-${place}`, result.adapter, result, peersReport(result));
} else if (values.batch) {
  await compareBatches(values.batch);
} else {
  const result = await (values.node ? inNode() : inChrome());
  await write(place, result.adapter, result, htmlReport(result));
}

async function write(
  kind: string,
  adapter: { architecture: string; vendor?: string },
  result: object,
  report: string,
): Promise<void> {
  const name = `${kind}-${adapter.architecture || adapter.vendor || 'unknown'}`;
  const out = values.out ?? new URL(`../results/${name}.json`, import.meta.url).pathname;
  await mkdir(dirname(out), { recursive: true });
  await writeFile(out, `${JSON.stringify(result, null, 1)}\n`);
  await writeFile(out.replace(/(\.json)?$/, '.html'), report);
  console.log(`written: ${out}, and a report beside it`);
}

async function comparePeers(): Promise<PeersResult> {
  const { shapes, contexts, tokens, runs } = options;
  const peers = values.node ? (['onnxruntime-web'] as const) : (['onnxruntime-web', 'wllama'] as const);
  return runPeers({ shapes, contexts, tokens, runs, peers }, values.node, onLine);
}

async function compareBatches(batch: string): Promise<void> {
  const { shapes, weights, runs } = options;
  const tokens = Number(values.tokens ?? 64);
  const wanted = { shapes, weights, runs, tokens, promptTokens: 128, batch: list(batch)!.map(Number) };
  const result = values.node
    ? await runBatch(wanted, await nodeSurroundings())
    : await onPage((page) => page.evaluate((options) => window.batchBench(options), wanted));
  if (!values.json) return;
  await writeFile(values.json, `${JSON.stringify(result, null, 1)}\n`);
  console.log(`written: ${values.json}`);
}

async function nodeSurroundings() {
  return { gpu: await gpu(), environment: `Node ${process.version}`, onLine };
}

async function inNode(): Promise<SuiteResult> {
  return runSuite(options, await nodeSurroundings());
}

function inChrome(): Promise<SuiteResult> {
  return onPage((page) => page.evaluate((options) => window.speedBench(options), options));
}

async function onPage<T>(run: (page: Page) => Promise<T>): Promise<T> {
  const pageTest = await startPageTest();
  try {
    const { page } = await pageTest.open('/examples/models/tiny-qwen3/config.json');
    await page.exposeFunction('tellLine', onLine);
    await page.addScriptTag({ type: 'module', url: '/bench/speed/page.ts' });
    await page.waitForFunction(() => 'speedBench' in window);
    return await run(page);
  } finally {
    await pageTest.close();
  }
}
