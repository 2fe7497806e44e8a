/** What is told of the chances of tokens is what the model's own logits say. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type ChatDelta,
  type GeneratedToken,
  type GenerateOptions,
  InvalidInputError,
  type LoadOptions,
  loadModel,
  type Model,
  type Speculation,
} from '../../src/index.ts';
import { fixtureFolders } from '../fixture-folders.ts';
import { freshSeed } from '../kernels/harness.ts';
import { topLogits } from '../reference/top-logits.ts';

const tiny = (name: string) => fixtureFolders('tinyModels').find((f) => f.name === name)!.source;
const small = { contextLength: 160, prefillRows: 16, precision: 'f32' } satisfies LoadOptions;
/** A question of the training. */
const PROMPT = [1016, 267, 198, 20, 20, 326, 220, 21, 300, 589, 1017, 198, 1016, 273, 198];

async function collect(model: Model, options: GenerateOptions): Promise<GeneratedToken[]> {
  const tokens: GeneratedToken[] = [];
  for await (const token of model.generate(PROMPT, { stopTokens: [], maxTokens: 12, ...options }))
    tokens.push(token);
  return tokens;
}

const runs: [name: string, speculate: Speculation | undefined][] = [
  ['tiny-qwen3', undefined],
  ['tiny-qwen3', 'lookup'],
  ['tiny-deepseek-v3', 'mtp'],
];

describe.each(runs)('%s, speculating with %s', (name, speculate) => {
  let model: Model;
  beforeAll(async () => {
    model = await loadModel(tiny(name), { ...small, ...(speculate && { speculate }) });
  });
  afterAll(() => model?.dispose());

  it('tells the logarithm of each probability and the likeliest tokens, and answers as without', async () => {
    const seed = freshSeed();
    // The rules of sampling change what comes, not what the model thought.
    for (const rules of [{ temperature: 0 }, { temperature: 1.2, topK: 40, frequencyPenalty: 0.5, seed }]) {
      const plain = await collect(model, rules);
      const told = await collect(model, { ...rules, logprobs: 20 });
      expect(told.map(({ id, text }) => ({ id, text }))).toEqual(plain);
      const ids = told.map(({ id }) => id);
      const rows = (await model.inspect([...PROMPT, ...ids], ['lm_head'])).get('lm_head')!;
      const vocab = rows.shape[1];
      for (const [i, { id, logprob, topLogprobs = [] }] of told.entries()) {
        const logits = rows.data.subarray((PROMPT.length + i - 1) * vocab, (PROMPT.length + i) * vocab);
        const max = logits.reduce((a, b) => Math.max(a, b));
        const logSum = Math.log(logits.reduce((sum, x) => sum + Math.exp(x - max), 0));
        const about = `token ${i}, seed ${seed}`;
        const wanted = topLogits(logits, 20).map((top) => ({
          id: top.id,
          logprob: top.logit - max - logSum,
        }));
        expect(topLogprobs).toHaveLength(20);
        // Other kernels computed the rows: what is nearly equal may come the other way round.
        const tolerance = 1e-4;
        for (const [place, top] of topLogprobs.entries()) {
          expect(Math.abs(top.logprob - wanted[place]!.logprob), about).toBeLessThan(tolerance);
          expect(Math.abs(top.logprob - (logits[top.id]! - max - logSum)), about).toBeLessThan(tolerance);
        }
        expect(Math.abs(logprob! - (logits[id]! - max - logSum)), about).toBeLessThan(tolerance);
        const own = topLogprobs.find((top) => top.id === id);
        if (own) expect(Math.abs(own.logprob - logprob!), about).toBeLessThan(1e-6);
        if (rules.temperature === 0) expect(topLogprobs[0]!.id).toBe(id);
      }
    }
  });

  it('tells as many as asked for, and nothing when not asked', async () => {
    // From here on the prompt is in the cache, and the same kernels compute every token.
    await collect(model, { maxTokens: 4 });
    const whole = await collect(model, { temperature: 0, logprobs: 20, maxTokens: 4 });
    const three = await collect(model, { temperature: 0, logprobs: 3, maxTokens: 4 });
    expect(three).toEqual(whole.map((t) => ({ ...t, topLogprobs: t.topLogprobs!.slice(0, 3) })));
    const none = await collect(model, { temperature: 0, logprobs: 0, maxTokens: 4 });
    expect(none).toEqual(whole.map((t) => ({ ...t, topLogprobs: [] })));
    for (const token of await collect(model, { maxTokens: 2 }))
      expect(Object.keys(token)).toEqual(['id', 'text']);
    for (const logprobs of [-1, 21, 1.5, Number.NaN]) {
      await expect(collect(model, { logprobs })).rejects.toThrow(InvalidInputError);
    }
  });
});

describe('a chat', () => {
  let model: Model;
  beforeAll(async () => {
    model = await loadModel(tiny('tiny-qwen3'), { contextLength: 320, maxSequences: 2, cacheTokens: 640 });
  });
  afterAll(() => model?.dispose());
  const question = [{ role: 'user', content: 'What is the capital of Norway?' }];

  it.each([true, false])(
    'has the tokens of its content, not those of its thinking (%s)',
    async (enableThinking) => {
      const options = { temperature: 0, enableThinking, maxTokens: 60 };
      // Two at a time, of which one is not asked.
      const stream = model.chat(question, { ...options, logprobs: 2 });
      const plain = model.chat(question, options);
      const deltas: ChatDelta[] = [];
      for await (const delta of stream) deltas.push(delta);
      const { message } = await stream.result;
      expect(message).toEqual((await plain.result).message);
      expect(message.content).not.toBe('');
      expect(message.reasoning_content !== '').toBe(enableThinking);
      for (const delta of deltas) expect(delta.logprobs === undefined).toBe(delta.content === undefined);
      const tokens = deltas.flatMap(({ logprobs = [] }) => logprobs);
      const text = tokens.map((token) => token.text).join('');
      expect(text).toBe(message.content);
      for (const { id, text: own, bytes, logprob, top } of tokens) {
        expect(new TextDecoder().decode(Uint8Array.from(bytes))).toBe(own);
        expect(model.tokenizer.decode([id])).toBe(own);
        expect(top).toHaveLength(2);
        expect(top[0]).toMatchObject({ id, text: own, bytes });
        expect(top[0]!.logprob).toBeCloseTo(logprob, 5);
      }
    },
  );

  it('gives the pieces of a character with the token that completes it', async () => {
    // A model that may only say one letter of three bytes, a byte a token or more.
    const pattern = { type: 'regex', pattern: '€€' } as const;
    const stream = model.chat(question, {
      temperature: 0,
      enableThinking: false,
      responseFormat: pattern,
      logprobs: 1,
    });
    const tokens = [];
    for await (const { content = '', logprobs = [] } of stream) {
      const bytes = logprobs.flatMap((token) => token.bytes);
      expect(new TextDecoder().decode(Uint8Array.from(bytes))).toBe(content);
      tokens.push(...logprobs);
    }
    expect((await stream.result).message.content).toBe('€€');
    expect(tokens.length).toBeGreaterThan(1);
  });
});
