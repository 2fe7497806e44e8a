/**
 * The embedded trained models answer their held-out prompts exactly as an independent implementation did: greedy, token for
 * token. Cases that the reference marks as near ties may differ; their count is printed.
 */
import { afterAll, describe, expect, inject, it } from 'vitest';
import { loadModel } from '../../src/index.ts';
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
}

interface EvalFile {
  max_new_tokens: number;
  stop_ids: number[];
  correct: number;
  cases: EvalCase[];
}

/** A software adapter in a browser takes minutes for all cases: there a plain test run takes every fifth. */
const STEP = import.meta.env.SSR || inject('everyCase') ? 1 : 5;

const lines: string[] = [];
afterAll(() => {
  console.info(lines.join('\n'));
});

for (const { name, files, source } of fixtureFolders('tinyModels')) {
  for (const file of files.filter((f) => /^eval.*\.json$/.test(f))) {
    describe(`${name}/${file}`, () => {
      it('reproduces every recorded answer token for token, and with it the recorded accuracy', async () => {
        const recorded = JSON.parse(new TextDecoder().decode(await source.readFile(file))) as EvalFile;
        const model = await loadModel(source, { precision: 'f32', contextLength: 2048 });
        try {
          let [correct, ties] = [0, 0];
          const wrong: string[] = [];
          const cases = recorded.cases.filter((_, i) => i % STEP === 0);
          for (const [i, c] of cases.entries()) {
            const ids: number[] = [];
            const options = {
              temperature: 0,
              maxTokens: recorded.max_new_tokens,
              stopTokens: recorded.stop_ids,
            };
            for await (const token of model.generate(c.prompt_ids, options)) ids.push(token.id);
            const isSame = ids.join() === c.output_ids.join();
            if (isSame && c.correct) correct++;
            if (!isSame && c.close) ties++;
            if (!isSame && !c.close)
              wrong.push(`case ${i} (${c.task}, ${c.mode}): ${ids.join()} instead of ${c.output_ids.join()}`);
          }
          lines.push(
            `${name}/${file}: ${cases.length - wrong.length - ties} of ${cases.length} the same, ${ties} near ties differ, ${correct} correct (recorded ${recorded.correct})`,
          );
          expect(wrong).toEqual([]);
          if (ties === 0 && STEP === 1) expect(correct).toBe(recorded.correct);
        } finally {
          model.dispose();
        }
      }, 900_000);
    });
  }
}
