/** Speculation changes how fast an answer comes, never the answer. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type GenerateOptions,
  type GenerateResult,
  type LoadOptions,
  loadModel,
  type Model,
  type Speculation,
} from '../../src/index.ts';
import { fixtureFolders } from '../fixture-folders.ts';
import { freshSeed, seededRandom } from '../kernels/harness.ts';

const CONTEXT = 96;
const small = { contextLength: CONTEXT, prefillRows: 16, precision: 'f32' } satisfies LoadOptions;
const tiny = (name: string) => fixtureFolders('tinyModels').find((f) => f.name === name)!.source;

/** Short recorded questions whose answers repeat words of their own or of the question. */
async function prompts(name: string): Promise<number[][]> {
  const bytes = await tiny(name).readFile('eval.json');
  const { cases } = JSON.parse(new TextDecoder().decode(bytes)) as {
    cases: { task: string; mode: string; prompt_ids: number[] }[];
  };
  const tasks = ['reverse', 'sort', 'repeat'];
  return tasks.map((task) => cases.find((c) => c.task === task && c.prompt_ids.length < 60)!.prompt_ids);
}

async function answer(
  model: Model,
  ids: readonly number[],
  options: GenerateOptions = {},
  onToken: (count: number) => void = () => {},
): Promise<GenerateResult> {
  const generation = model.generate(ids, { temperature: 0, ...options });
  let next = await generation.next();
  for (let count = 1; !next.done; count++) {
    onToken(count);
    next = await generation.next();
  }
  return next.value;
}

const runs: [name: string, speculate: Speculation][] = [
  ['tiny-qwen3', 'lookup'],
  ['tiny-deepseek-v3', 'mtp'],
];

describe.each(runs)('%s with %s', (name, speculate) => {
  let plain: Model;
  let fast: Model;
  let questions: number[][];
  /** The first question and its plain answer. */
  let prompt: number[];
  let whole: number[];
  beforeAll(async () => {
    questions = await prompts(name);
    plain = await loadModel(tiny(name), small);
    fast = await loadModel(tiny(name), { ...small, speculate });
    prompt = questions[0]!;
    whole = (await answer(plain, prompt)).ids;
  });
  afterAll(() => {
    plain?.dispose();
    fast?.dispose();
  });

  it('answers greedily what the model answers without, in fewer steps, and tells how many drafts were right', async () => {
    let [drafted, accepted] = [0, 0];
    for (const question of questions) {
      const wanted = await answer(plain, question);
      expect(wanted.usage).toMatchObject({ draftTokens: 0, acceptedTokens: 0 });
      expect(wanted.timings.tokensPerStep).toBe(1);
      const { ids, finishReason, usage, timings } = await answer(fast, question);
      expect({ ids, finishReason }).toEqual({ ids: wanted.ids, finishReason: wanted.finishReason });
      expect(usage.completionTokens).toBe(wanted.usage.completionTokens);
      // Every token behind the first is accepted or ends a step, but the last step may end in a draft that is a stop token.
      const numSteps = Math.round((usage.completionTokens - 1) / timings.tokensPerStep);
      expect([0, 1]).toContain(numSteps + usage.acceptedTokens - (usage.completionTokens - 1));
      drafted += usage.draftTokens;
      accepted += usage.acceptedTokens;
    }
    expect(accepted).toBeGreaterThan(10);
    expect(drafted).toBeGreaterThanOrEqual(accepted);
  });

  it('draws with the same seed what the model draws without, whatever the rules', async () => {
    const seed = freshSeed();
    const random = seededRandom(seed);
    let accepted = 0;
    for (const [i, rules] of [
      { temperature: 1, repetitionPenalty: 1.1, presencePenalty: 0.5, frequencyPenalty: 0.3 },
      { temperature: 0.7, topK: 20, topP: 0.8 },
      { temperature: 1.5, minP: 0.05, logitBias: { 198: -2, 20: 1 } },
    ].entries()) {
      const options = { ...rules, seed: Math.floor(random() * 2 ** 40), stopTokens: [], maxTokens: 40 };
      const wanted = await answer(plain, questions[i]!, options);
      const found = await answer(fast, questions[i]!, options);
      expect(found.ids, `${JSON.stringify(options)}, seed ${seed}`).toEqual(wanted.ids);
      accepted += found.usage.acceptedTokens;
    }
    expect(accepted).toBeGreaterThan(0);
  });

  it('ends at a stop token in the middle of accepted drafts, and the next answer is right', async () => {
    for (const stop of new Set(whole)) {
      const { ids, finishReason, usage } = await answer(fast, prompt, { stopTokens: [stop] });
      expect(ids).toEqual(whole.slice(0, whole.indexOf(stop) + 1));
      expect(finishReason).toBe('stop');
      expect(usage.completionTokens).toBe(ids.length);
    }
    expect((await answer(fast, prompt)).ids).toEqual(whole);
  });

  it('gives exactly maxTokens, wherever a step would go beyond', async () => {
    for (let maxTokens = 1; maxTokens < 12; maxTokens++) {
      const { ids, finishReason } = await answer(fast, prompt, { maxTokens });
      expect(ids).toEqual(whole.slice(0, maxTokens));
      expect(finishReason).toBe('length');
    }
  });

  it('fills the context to its last position and not beyond', async () => {
    const wanted = await answer(plain, prompt, { stopTokens: [] });
    expect(wanted.ids).toHaveLength(CONTEXT - prompt.length + 1);
    expect((await answer(fast, prompt, { stopTokens: [] })).ids).toEqual(wanted.ids);
    const full = Array.from({ length: CONTEXT }, (_, i) => 20 + (i % 5));
    expect((await answer(fast, full)).ids).toEqual((await answer(plain, full)).ids);
  });

  it('reuses what is cached when a conversation goes on, and when it goes back', async () => {
    const { ids: first } = await answer(fast, prompt);
    const next = [198, 1016, 267, 198, 20, 20, 326, 220, 21, 1017, 198, 1016, 273, 198];
    const longer = [...prompt, ...first, ...next];
    const second = await answer(fast, longer, { maxTokens: 12 });
    expect(second.ids).toEqual((await answer(plain, longer, { maxTokens: 12 })).ids);
    // What the module that drafts lacks behind the last step, and a position for the new token behind the old ones, are made anew.
    expect(second.usage.cachedTokens).toBeGreaterThanOrEqual(prompt.length + first.length - 4);
    for (const kept of [prompt.length + 7, prompt.length, prompt.length - 1, 3, 1]) {
      const back = [...longer.slice(0, kept), 21, 198];
      const { ids, usage } = await answer(fast, back, { maxTokens: 6 });
      expect(ids, `${kept} kept`).toEqual((await answer(plain, back, { maxTokens: 6 })).ids);
      expect(usage.cachedTokens).toBeGreaterThanOrEqual(kept - 1);
    }
    expect((await answer(fast, prompt)).ids).toEqual(whole);
  });

  it('stops at once when aborted or left, and answers correctly after', async () => {
    for (const count of [1, 2, 5, 9]) {
      const stopper = new AbortController();
      const { ids, finishReason } = await answer(fast, prompt, { signal: stopper.signal }, (n) => {
        if (n === count) stopper.abort();
      });
      expect(finishReason).toBe('abort');
      expect(ids).toEqual(whole.slice(0, count));
      for await (const { id } of fast.generate(prompt, { temperature: 0 })) {
        expect(id).toBe(whole[0]);
        break;
      }
    }
    expect((await answer(fast, prompt)).ids).toEqual(whole);
  });

  it('ends when the model is disposed of in the middle', async () => {
    const { finishReason } = await answer(fast, prompt, {}, (n) => {
      if (n === 3) fast.dispose();
    });
    expect(finishReason).toBe('abort');
  });
});
