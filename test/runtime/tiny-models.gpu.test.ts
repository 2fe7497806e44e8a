/**
 * The embedded trained models answer their held-out prompts exactly as an independent implementation did: greedy, token for
 * token, with and without speculation. Cases that the reference marks as near ties may differ; their count is printed.
 */
import { afterAll, describe, expect, inject, it } from 'vitest';
import { type GenerateResult, loadModel, type Speculation } from '../../src/index.ts';
import type { Source } from '../../src/sources/source.ts';
import { fixtureFolders } from '../fixture-folders.ts';

interface EvalCase {
  task: string;
  mode: string;
  messages: { role: string; content: string }[];
  tools: unknown[] | null;
  enable_thinking: boolean | null;
  prompt: string;
  prompt_ids: number[];
  output_ids: number[];
  correct: boolean;
  close: boolean;
  /** The reference's draft for output_ids[j + 1], made when output_ids[j] is known; and how many are right. */
  mtp_drafts?: number[];
  mtp_accepted?: number;
}

interface EvalFile {
  max_new_tokens: number;
  stop_ids: number[];
  correct: number;
  cases: EvalCase[];
}

/** A plain test run takes every sixth case, without speculation, which has tests of its own. `npm run goldens:tiny` takes all. */
const isWhole = inject('everyCase');
const STEP = isWhole ? 1 : 6;

const lines: string[] = [];
afterAll(() => {
  console.info(lines.join('\n'));
});

for (const { name, files, source } of fixtureFolders('tinyModels')) {
  for (const file of files.filter((f) => /^eval.*\.json$/.test(f))) {
    describe(`${name}/${file}`, () => {
      it('reproduces every recorded answer token for token, and with it the recorded accuracy', async () => {
        const { recorded, cases, correct, ties } = await answerCases(source, file, STEP);
        lines.push(`${name}/${file}: ${correct} of ${cases.length} correct (recorded ${recorded.correct})`);
        if (ties === 0 && STEP === 1) expect(correct).toBe(recorded.correct);
      }, 900_000);

      if (!isWhole) return;
      it('answers the same with prompt lookup', async () => {
        await answerCases(source, file, STEP, 'lookup');
      }, 900_000);

      it("answers the same with drafts of the checkpoint's own module, as many of them right as recorded", async ({
        skip,
      }) => {
        const config = await readJson<{ num_nextn_predict_layers?: number }>(source, 'config.json');
        if (!config.num_nextn_predict_layers) skip('the checkpoint has no such module');
        const { cases, rate } = await answerCases(source, file, STEP, 'mtp');
        const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);
        const wanted =
          sum(cases.map((c) => c.mtp_accepted ?? 0)) / sum(cases.map((c) => c.mtp_drafts?.length ?? 0));
        lines.push(`${name}/${file}: recorded ${percent(wanted)} of drafts at every position`);
        // Here only positions behind a known token are drafted, which are fewer: about every second.
        expect(Math.abs(rate - wanted)).toBeLessThan(0.02);
      }, 900_000);
    });
  }
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

async function readJson<T>(source: Source, file: string): Promise<T> {
  return JSON.parse(new TextDecoder().decode(await source.readFile(file))) as T;
}

/** Answers every `step`-th case, and tells of any that is not the recorded one. */
async function answerCases(source: Source, file: string, step: number, speculate?: Speculation) {
  const recorded = await readJson<EvalFile>(source, file);
  const cases = recorded.cases.filter((_, i) => i % step === 0);
  const model = await loadModel(source, { precision: 'f32', contextLength: 2048, speculate });
  try {
    let [correct, ties, drafted, accepted, decoded, steps] = [0, 0, 0, 0, 0, 0];
    const wrong: string[] = [];
    for (const [i, c] of cases.entries()) {
      const generation = model.generate(c.prompt_ids, {
        temperature: 0,
        maxTokens: recorded.max_new_tokens,
        stopTokens: recorded.stop_ids,
      });
      let next = await generation.next();
      while (!next.done) next = await generation.next();
      const { ids, usage, timings }: GenerateResult = next.value;
      drafted += usage.draftTokens;
      accepted += usage.acceptedTokens;
      decoded += ids.length - 1;
      steps += (ids.length - 1) / timings.tokensPerStep;
      const isSame = ids.join() === c.output_ids.join();
      if (isSame && c.correct) correct++;
      if (!isSame && c.close) ties++;
      if (!isSame && !c.close)
        wrong.push(`case ${i} (${c.task}, ${c.mode}): ${ids.join()} instead of ${c.output_ids.join()}`);
    }
    const rate = accepted / drafted;
    lines.push(
      `${source.label.split('/').at(-1)}/${file}${speculate ? ` with ${speculate}` : ''}: ${cases.length - wrong.length - ties} of ${cases.length} the same, ${ties} near ties differ` +
        (speculate
          ? `; ${accepted} of ${drafted} drafts accepted (${percent(rate)}), ${(decoded / steps).toFixed(2)} tokens per forward pass`
          : ''),
    );
    expect(wrong).toEqual([]);
    return { recorded, cases, correct, ties, rate };
  } finally {
    model.dispose();
  }
}
