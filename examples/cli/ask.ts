/**
 * @file `npm run ask -- [--model DIR|NAME|URL] [--weights auto|int8|...] [--speculate mtp|lookup] "question"`: streams an answer
 * in the terminal. The environment variables HF_TOKEN and HF_ENDPOINT are for names on Hugging Face.
 */
import { stat } from 'node:fs/promises';
import { parseArgs, styleText } from 'node:util';
import {
  type LoadOptions,
  loadModel,
  ShaderloomError,
  type Source,
  type Speculation,
} from '../../src/index.ts';
import { folder, gpu } from '../../src/node.ts';

const USAGE =
  'usage: npm run ask -- [--model DIR|NAME|URL] [--no-think] [--max-tokens N] [--seed N] [--weights auto|published|bf16|f16|int8|int4] [--context N] [--speculate mtp|lookup] "question"';
const EMBEDDED = new URL('../models/tiny-qwen3/', import.meta.url);

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      model: { type: 'string' },
      'no-think': { type: 'boolean', default: false },
      'max-tokens': { type: 'string' },
      seed: { type: 'string' },
      speculate: { type: 'string' },
      weights: { type: 'string' },
      context: { type: 'string' },
    },
  });
  const question = positionals.join(' ').trim();
  if (!question) throw new ShaderloomError(USAGE);
  const stopper = new AbortController();
  process.once('SIGINT', () => stopper.abort());
  const model = await loadModel(await sourceOf(values.model ?? EMBEDDED.pathname), {
    gpu: await gpu(),
    hub: { token: variable('HF_TOKEN'), endpoint: variable('HF_ENDPOINT') },
    // Checked where it is used.
    speculate: values.speculate as Speculation | undefined,
    weights: values.weights as LoadOptions['weights'],
    contextLength: number('context', values.context),
    signal: stopper.signal,
    onProgress: showProgress,
  });
  try {
    const answer = model.chat([{ role: 'user', content: question }], {
      enableThinking: values['no-think'] ? false : undefined,
      maxTokens: number('max-tokens', values['max-tokens']),
      seed: number('seed', values.seed),
      signal: stopper.signal,
    });
    let wasReasoning = false;
    for await (const { reasoning, content } of answer) {
      if (content && wasReasoning) process.stdout.write('\n\n');
      wasReasoning = reasoning !== undefined;
      process.stdout.write(reasoning ? styleText('dim', reasoning) : (content ?? ''));
    }
    const { usage, timings, finishReason } = await answer.result;
    const format = model.info.weights === 'published' ? '' : `, weights in ${model.info.weights}`;
    const drafts = values.speculate
      ? `, ${usage.acceptedTokens} of ${usage.draftTokens} drafts accepted, ${timings.tokensPerStep.toFixed(2)} tokens a step`
      : '';
    console.log();
    console.error(
      styleText(
        'dim',
        `${usage.completionTokens} tokens (${finishReason}), ${timings.decodeTokensPerSecond.toFixed(1)} tokens/s, first after ${Math.round(timings.timeToFirstToken)} ms${drafts}${format}, ${model.info.adapter.description}`,
      ),
    );
  } finally {
    model.dispose();
  }
}

/** A folder where there is one, else the name or URL. */
async function sourceOf(from: string): Promise<string | Source> {
  const isThere = await stat(from).then(
    () => true,
    () => false,
  );
  if (isThere) return folder(from);
  if (/^(https?|hf|modelscope):/.test(from) || /^[^./][^/]*\/[^/]+$/.test(from.split('@')[0]!)) return from;
  throw new ShaderloomError(
    `${from} does not exist; give a folder with config.json and safetensors shards, a name like Qwen/Qwen3-0.6B, or a URL`,
  );
}

function variable(name: string): string | undefined {
  return process.env[name]?.trim() || undefined;
}

function number(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!Number.isSafeInteger(Number(text))) throw new ShaderloomError(`--${name} ${text}, wanted an integer`);
  return Number(text);
}

function showProgress({
  phase,
  loadedBytes,
  totalBytes,
}: {
  phase: string;
  loadedBytes: number;
  totalBytes: number;
}): void {
  if (!process.stderr.isTTY) return;
  const percent = totalBytes > 0 ? ` ${Math.round((100 * loadedBytes) / totalBytes)} %` : '';
  process.stderr.write(phase === 'ready' ? '\r\x1b[K' : `\r\x1b[K${phase}${percent}`);
}

await main().catch((error: unknown) => {
  console.error(error instanceof Error && error.name !== 'Error' ? error.message : error);
  process.exitCode = 1;
});
