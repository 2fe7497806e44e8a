/** @file `npm run ask -- [--model DIR|URL] [--speculate mtp|lookup] "question"`: streams an answer in the terminal. */
import { stat } from 'node:fs/promises';
import { parseArgs, styleText } from 'node:util';
import { loadModel, ShaderloomError, type Speculation } from '../../src/index.ts';
import { folder, gpu } from '../../src/node.ts';

const USAGE =
  'usage: npm run ask -- [--model DIR|URL] [--no-think] [--max-tokens N] [--seed N] [--speculate mtp|lookup] "question"';
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
    },
  });
  const question = positionals.join(' ').trim();
  if (!question) throw new ShaderloomError(USAGE);
  const stopper = new AbortController();
  process.once('SIGINT', () => stopper.abort());
  const from = values.model ?? EMBEDDED.pathname;
  const source = /^https?:/.test(from) ? from : folder(await existing(from));
  const model = await loadModel(source, {
    gpu: await gpu(),
    // Checked where it is used.
    speculate: values.speculate as Speculation | undefined,
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
    const drafts = values.speculate
      ? `, ${usage.acceptedTokens} of ${usage.draftTokens} drafts accepted, ${timings.tokensPerStep.toFixed(2)} tokens a step`
      : '';
    console.log();
    console.error(
      styleText(
        'dim',
        `${usage.completionTokens} tokens (${finishReason}), ${timings.decodeTokensPerSecond.toFixed(1)} tokens/s, first after ${Math.round(timings.timeToFirstToken)} ms${drafts}, ${model.info.adapter.description}`,
      ),
    );
  } finally {
    model.dispose();
  }
}

async function existing(path: string): Promise<string> {
  await stat(path).catch(() => {
    throw new ShaderloomError(
      `${path} does not exist; give a folder with config.json and safetensors shards, or a URL`,
    );
  });
  return path;
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
