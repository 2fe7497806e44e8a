/**
 * @file `npm run bench:cost -- --model NAME [--weights int8,int4] [--gguf FILE,...]`: what narrower weights cost, with real ones. The
 * checkpoint in the folder REAL_MODELS is the measure, in f32; beside it the same weights quantised while they load, and GGUF files that
 * were made of them. Of each form the mean negative log-likelihood of the recorded text and the mean Kullback-Leibler divergence of its
 * distributions, over every position.
 */
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import type { LoadOptions } from '../../src/index.ts';
import { folder, gpu } from '../../src/node.ts';
import { everyWeight } from '../../src/runtime/load/fit.ts';
import { openModel, startModel } from '../../src/runtime/load/load.ts';
import { readReference } from './reference.ts';

interface Distributions {
  /** [positions, vocabulary]: natural logarithms of probabilities. */
  logprobs: Float32Array;
  bitsPerWeight: number;
  megabytes: number;
}

/** Positions that are computed together. */
const ROWS = 64;

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'smollm2-135m-instruct' },
    weights: { type: 'string', default: 'int8,int4' },
    gguf: { type: 'string', default: '' },
    /** Of the recorded text, from its beginning. */
    tokens: { type: 'string', default: '100000' },
  },
});
const root = process.env.REAL_MODELS;
if (!root) throw new Error('Give the folder that holds the checkpoint as REAL_MODELS.');
const ids = readReference(values.model).nll.ids.slice(0, Number(values.tokens));
const checkpoint = join(root, values.model);

const wanted = await distributionsOf(checkpoint, {});
console.log('| weights | bits per weight | MB | NLL | against | KL |\n| --- | --- | --- | --- | --- | --- |');
const nll = meanNll(wanted);
report('as published', wanted);
for (const weights of values.weights.split(',').filter(Boolean)) {
  report(weights, await distributionsOf(checkpoint, { weights: weights as LoadOptions['weights'] }));
}
for (const file of values.gguf.split(',').filter(Boolean)) {
  report(basename(file), await distributionsOf(file, {}));
}

function report(name: string, found: Distributions): void {
  const own = meanNll(found);
  const change = (100 * (own - nll)) / nll;
  console.log(
    `| ${name} | ${found.bitsPerWeight.toFixed(2)} | ${found.megabytes.toFixed(0)} | ${own.toFixed(4)} | ` +
      `${change >= 0 ? '+' : ''}${change.toFixed(2)} % | ${meanDivergence(wanted.logprobs, found.logprobs).toFixed(5)} |`,
  );
}

async function distributionsOf(path: string, more: LoadOptions): Promise<Distributions> {
  const options: LoadOptions = { gpu: await gpu(), precision: 'f32', contextLength: 2048, ...more };
  const opened = await openModel(folder(path), options);
  const model = await startModel(opened, options);
  try {
    const { data, shape } = (await model.session.inspect(ids, ['lm_head'], ROWS)).get('lm_head')!;
    toLogprobs(data, shape[1]);
    const matrices = everyWeight(opened.variant(model.info.weights).plans).filter(
      (weight) => !weight.isVector,
    );
    const numWeights = matrices.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
    const { weightBytes } = model.info;
    return { logprobs: data, bitsPerWeight: (8 * weightBytes) / numWeights, megabytes: weightBytes / 1e6 };
  } finally {
    model.dispose();
  }
}

/** Logits of rows become the logarithms of their softmax. */
function toLogprobs(logits: Float32Array, vocabulary: number): void {
  for (let begin = 0; begin < logits.length; begin += vocabulary) {
    const row = logits.subarray(begin, begin + vocabulary);
    let largest = Number.NEGATIVE_INFINITY;
    for (const logit of row) largest = Math.max(largest, logit);
    let sum = 0;
    for (const logit of row) sum += Math.exp(logit - largest);
    const all = largest + Math.log(sum);
    for (let i = 0; i < row.length; i++) row[i]! -= all;
  }
}

/** Of every id but the first, after those before it. */
function meanNll({ logprobs }: Distributions): number {
  const vocabulary = logprobs.length / ids.length;
  let sum = 0;
  for (let position = 0; position + 1 < ids.length; position++) {
    sum -= logprobs[position * vocabulary + ids[position + 1]!]!;
  }
  return sum / (ids.length - 1);
}

/** Of p against q, over all positions: sum p (log p - log q). */
function meanDivergence(p: Float32Array, q: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) sum += Math.exp(p[i]!) * (p[i]! - q[i]!);
  return sum / ids.length;
}
