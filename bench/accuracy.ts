/**
 * @file `npm run bench:accuracy [-- --model DIR ...] [--weights bf16,int8,int4] [--kv f32,f16,int8] [--prompts N]`: how many held-out
 * prompts the embedded models answer rightly with their weights as published and quantised while they load, and with narrower KV caches;
 * and what the loader says was lost. Each format of weights is measured with the first format of caches, each other format of
 * caches with the first of weights. The prompts are the first of each kind that the models' recorded accuracy was measured with, made by
 * their training scripts; greedy decoding, all else in f32.
 */
import { basename } from 'node:path';
import { parseArgs } from 'node:util';
import { type LoadOptions, loadModel, type Model, type WantedFormat } from '../src/index.ts';
import { folder, gpu } from '../src/node.ts';
import { answerTo, isRight, prompts } from './accuracy-cases.ts';

const EMBEDDED = ['tiny-qwen3', 'tiny-qwen3-moe', 'tiny-deepseek-v3'].map(
  (name) => new URL(`../examples/models/${name}/`, import.meta.url).pathname,
);

const { values } = parseArgs({
  options: {
    model: { type: 'string', multiple: true, default: EMBEDDED },
    weights: { type: 'string', default: 'bf16,int8,int4' },
    kv: { type: 'string', default: 'f32,f16,int8' },
    prompts: { type: 'string', default: '336' },
  },
});
type KvFormat = NonNullable<LoadOptions['kvFormat']>;
const wanted = values.weights.split(',') as WantedFormat[];
const [kvFormat, ...otherKvFormats] = values.kv.split(',') as [KvFormat, ...KvFormat[]];
const asked = prompts.slice(0, Number(values.prompts));

interface Row {
  model: string;
  weights: string;
  kvFormat: string;
  right: boolean[];
  megabytes: number;
  errors: Model['info']['conversionErrors'];
}
const rows: Row[] = [];
for (const path of values.model) {
  for (const weights of wanted) rows.push(await measure(path, weights, kvFormat));
  for (const other of otherKvFormats) rows.push(await measure(path, wanted[0]!, other));
}
console.log(table());

async function measure(path: string, weights: WantedFormat, kvFormat: KvFormat): Promise<Row> {
  const model = await loadModel(folder(path), {
    gpu: await gpu(),
    precision: 'f32',
    contextLength: 2048,
    weights,
    kvFormat,
  });
  try {
    const name = `${basename(path)} ${weights}, KV ${kvFormat}`;
    const right: boolean[] = [];
    for (const prompt of asked) {
      right.push(isRight(prompt, await answerTo(model, prompt.prompt)));
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${name} ${right.length}`);
    }
    const { weightBytes, conversionErrors } = model.info;
    const row = {
      model: basename(path),
      weights,
      kvFormat,
      right,
      megabytes: weightBytes / 1e6,
      errors: conversionErrors,
    };
    console.error(`${process.stderr.isTTY ? '\r\x1b[K' : ''}${name}: ${count(right)} of ${right.length}`);
    return row;
  } finally {
    model.dispose();
  }
}

function count(right: readonly boolean[]): number {
  return right.filter(Boolean).length;
}

function table(): string {
  const lines = [
    `${'model'.padEnd(20)}${'weights'.padEnd(9)}${'KV'.padEnd(6)}${'MB'.padStart(6)}${'right'.padStart(12)}${'accuracy'.padStart(10)}${'against first'.padStart(15)}   gained / lost`,
  ];
  for (const row of rows) {
    const first = rows.find(({ model }) => model === row.model)!;
    const share = (right: readonly boolean[]): number => (100 * count(right)) / right.length;
    const gained = row.right.filter((right, i) => right && !first.right[i]).length;
    const lost = row.right.filter((right, i) => !right && first.right[i]).length;
    lines.push(
      `${row.model.padEnd(20)}${row.weights.padEnd(9)}${row.kvFormat.padEnd(6)}${row.megabytes.toFixed(2).padStart(6)}${`${count(row.right)} of ${row.right.length}`.padStart(12)}` +
        `${`${share(row.right).toFixed(1)} %`.padStart(10)}${`${(share(row.right) - share(first.right)).toFixed(1)} points`.padStart(15)}   ${gained} / ${lost}`,
    );
  }
  lines.push('', `${'tensors'.padEnd(44)}${'format'.padEnd(22)}mean error  largest of a group`);
  for (const { model, kvFormat: kv, errors } of rows) {
    if (kv !== kvFormat) continue;
    for (const { tensors, format, meanRelativeError, maxRelativeError } of errors) {
      lines.push(
        `${`${model} ${tensors.replace(/^model\./, '')}`.padEnd(44)} ${format.padEnd(22)}${(100 * meanRelativeError).toFixed(2).padStart(7)} %${(100 * maxRelativeError).toFixed(2).padStart(11)} %`,
      );
    }
  }
  return lines.join('\n');
}
