/**
 * The sampling goldens (transformers' logits processors in float64): which tokens stay, and how likely each is. One line
 * is printed per fixture.
 */
import { describe, expect, it } from 'vitest';
import { fixtureFolders } from '../fixture-folders.ts';
import { probabilities, runSampler } from './sampler.ts';

interface Case {
  name: string;
  logits: number[];
  prompt_ids: number[];
  output_ids: number[];
  temperature: number;
  top_k: number;
  top_p: number;
  min_p: number;
  repetition_penalty: number;
  presence_penalty: number;
  frequency_penalty: number;
  probs: number[];
}

/** What the goldens' maker asks of float32. */
const TOLERANCE = 1e-6;

describe.each(fixtureFolders('goldens').filter(({ files }) => files.includes('sampling.json')))(
  '$name',
  ({ name, source }) => {
    it('keeps the same tokens with the same probabilities', async () => {
      const text = new TextDecoder().decode(await source.readFile('sampling.json'));
      const { cases } = JSON.parse(text) as { cases: Case[] };
      let worst = 0;
      for (const [i, golden] of cases.entries()) {
        const params = {
          temperature: golden.temperature,
          topK: golden.top_k,
          topP: golden.top_p,
          minP: golden.min_p,
          repetitionPenalty: golden.repetition_penalty,
          presencePenalty: golden.presence_penalty,
          frequencyPenalty: golden.frequency_penalty,
          seed: i,
        };
        const { logits, prompt_ids: promptIds, output_ids: outputIds, probs: wanted } = golden;
        const { scaled, results } = await runSampler({ logits, params, promptIds, outputIds });
        const result = results[0]!;
        const probs = probabilities(scaled, result, params);
        const label = `case ${i}: ${golden.name}`;
        expect(
          [...probs].map((p) => p > 0),
          label,
        ).toEqual(wanted.map((p) => p > 0));
        const error = Math.max(...wanted.map((p, id) => Math.abs(probs[id]! - p)));
        worst = Math.max(worst, error);
        expect(error, label).toBeLessThan(TOLERANCE);
        expect(Math.abs(Math.exp(result.logprob) - wanted[result.token]!), label).toBeLessThan(TOLERANCE);
      }
      console.info(
        `${name}: ${cases.length} cases, kept tokens all the same, probabilities ${worst.toExponential(1)}`,
      );
      expect(cases.length).toBeGreaterThan(0);
    });
  },
);
