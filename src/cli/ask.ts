/** @file `shaderloom ask`, also `npm run ask`: streams an answer in the terminal. */
import { parseArgs, styleText } from 'node:util';
import { type LoadOptions, loadModel, ShaderloomError, type Speculation } from '../index.ts';
import { gpu } from '../node.ts';
import { number, showProgress, sourceOf, variable } from './terminal.ts';

export const USAGE =
  'ask --model MODEL [--no-think] [--max-tokens N] [--seed N] [--weights auto|published|bf16|f16|int8|int4] [--context N] [--speculate mtp|lookup] "question"';

export async function ask(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
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
  if (!question || !values.model) throw new ShaderloomError(`usage: shaderloom ${USAGE}`);
  const stopper = new AbortController();
  process.once('SIGINT', () => stopper.abort());
  const model = await loadModel(await sourceOf(values.model), {
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
