/** What the API tells of prompts: their tokens' log-probabilities, vectors and scores of documents, over `fetch` too. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ApiError,
  type Completion,
  type CompletionRequest,
  type Engine,
  engineOf,
  loadModel,
  type Model,
} from '../../src/index.ts';
import { embeddingFiles, rankingSource } from '../runtime/reading-checkpoints.ts';

let model: Model;
let engine: Engine;
beforeAll(async () => {
  model = await loadModel(await rankingSource(), { contextLength: 384, precision: 'f32' });
  engine = engineOf(model, { modelId: 'tiny' });
}, 60_000);
afterAll(() => engine?.dispose());

const TEXT = 'What is the capital of Norway? Æ€𝄞';
const complete = (request: CompletionRequest): Promise<Completion> =>
  engine.completions.create({ temperature: 0, ...request, stream: false });

async function post(path: string, body: object): Promise<{ status: number; json: Record<string, never> }> {
  const response = await engine.fetch(`/v1/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: response.status, json: await response.json() };
}

describe('a completion that echoes its prompt', () => {
  it('tells of every token of the prompt, and generates nothing with max_tokens 0', async () => {
    const ids = [...model.tokenizer.encode(TEXT)];
    const scored = await model.score(ids, { logprobs: 2 });
    for (const prompt of [TEXT, ids]) {
      const { choices, usage } = await complete({ prompt, echo: true, max_tokens: 0, logprobs: 2 });
      expect(choices).toHaveLength(1);
      const [{ text, finish_reason, logprobs }] = choices as [(typeof choices)[number]];
      expect({ text, finish_reason }).toEqual({ text: TEXT, finish_reason: 'length' });
      expect(usage).toMatchObject({ prompt_tokens: ids.length, completion_tokens: 0 });
      expect(logprobs!.token_logprobs).toEqual(scored.map(({ logprob }) => logprob ?? null));
      expect(logprobs!.tokens).toEqual(ids.map((id) => model.tokenizer.decode([id])));
      scored.forEach(({ topLogprobs, logprob }, i) => {
        const told = logprobs!.top_logprobs[i];
        if (i === 0) expect(told).toBeNull();
        else {
          expect(Object.values(told!)).toContain(logprob);
          for (const top of topLogprobs!) expect(Object.values(told!)).toContain(top.logprob);
        }
      });
      // Every token begins where the one before it has ended.
      const { text_offset: offsets, tokens } = logprobs!;
      offsets.forEach((offset, i) => {
        if (!tokens[i]!.includes('\ufffd')) expect(text.startsWith(tokens[i]!, offset)).toBe(true);
      });
      expect(offsets).toEqual(offsets.toSorted((a, b) => a - b));
    }
  });

  /** As lm-evaluation-harness asks and reads (models/openai_completions.py, LocalCompletionsAPI). */
  it('gives the harness the likelihood of each continuation, and whether it is the greedy one', async () => {
    const questions = ['What is 27 + 58?', 'The capital of Norway is', 'Red, green'].map((context) => {
      const contextIds = [...model.tokenizer.encode(context)];
      return { context: contextIds, ids: [...contextIds, ...model.tokenizer.encode(' Oslo, blue.')] };
    });
    // One that the model says itself; and one after which it ends.
    const own = await model.generate(questions[0]!.context, { temperature: 0, maxTokens: 6, stopTokens: [] });
    const greedy = [...questions[0]!.context];
    for await (const { id } of own) greedy.push(id);
    questions.push({ context: questions[0]!.context, ids: greedy });
    const ended = [
      ...model.tokenizer.encode('<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n'),
    ];
    questions.push({ context: ended.slice(0, 3), ids: ended });
    const { status, json } = await post('completions', {
      model: 'tiny',
      prompt: questions.map(({ ids }) => ids),
      temperature: 0,
      max_tokens: 1,
      logprobs: 1,
      seed: 1234,
      echo: true,
    });
    expect(status).toBe(200);
    const { choices } = json as unknown as Completion;
    for (const [i, { context, ids }] of questions.entries()) {
      const { logprobs } = choices.find(({ index }) => index === i)!;
      expect(logprobs!.token_logprobs).toHaveLength(ids.length + 1);
      const logprobsOf = logprobs!.token_logprobs.slice(context.length, -1);
      const topOf = logprobs!.top_logprobs.slice(context.length, -1);
      const sum = (numbers: number[]): number => numbers.reduce((a, b) => a + b, 0);
      const isGreedy = logprobsOf.every((logprob, t) => logprob === Math.max(...Object.values(topOf[t]!)));
      const scored = (await model.score(ids)).slice(context.length);
      expect(sum(logprobsOf)).toBeCloseTo(sum(scored.map(({ logprob }) => logprob!)), 6);
      expect(isGreedy).toBe(scored.every(({ rank }) => rank === 1));
      if (i === 3) expect(isGreedy).toBe(true);
    }
  });

  it('is answered as without, and its stream is what it is whole', async () => {
    const request = { prompt: ['One, two', 'Red, green'], n: 2, max_tokens: 4, temperature: 0 };
    const plain = await complete({ ...request, echo: true });
    const told = await complete({ ...request, echo: true, logprobs: 1, prompt_logprobs: 0 });
    expect(told.choices.map(({ text }) => text)).toEqual(plain.choices.map(({ text }) => text));
    expect(told.usage.prompt_tokens).toBe(plain.usage.prompt_tokens);
    expect(told.usage.prompt_tokens_details.cached_tokens).toBe(0);
    const stream = await engine.completions.create({ ...request, echo: true, logprobs: 1, stream: true });
    const texts: string[] = [];
    const tokens: string[][] = [];
    for await (const { choices } of stream) {
      for (const { index, text, logprobs } of choices) {
        texts[index] = (texts[index] ?? '') + text;
        tokens[index] = [...(tokens[index] ?? []), ...(logprobs?.tokens ?? [])];
      }
    }
    expect(texts).toEqual(plain.choices.map(({ text }) => text));
    expect(tokens).toEqual(told.choices.map(({ logprobs }) => logprobs!.tokens));
  });

  it("has vLLM's prompt_logprobs by token ids, with or without an echo", async () => {
    const ids = [...model.tokenizer.encode(TEXT)];
    const scored = await model.score(ids, { logprobs: 3 });
    const { choices } = await complete({ prompt: TEXT, max_tokens: 1, prompt_logprobs: 3 });
    const [{ prompt_logprobs: told, text, logprobs }] = choices as [(typeof choices)[number]];
    expect(text.startsWith(TEXT)).toBe(false);
    expect(logprobs).toBeNull();
    expect(told).toHaveLength(ids.length);
    expect(told![0]).toBeNull();
    scored.slice(1).forEach(({ id, logprob, rank, topLogprobs }, i) => {
      const at = told![i + 1]!;
      expect(at[id]).toEqual({ logprob, rank, decoded_token: model.tokenizer.decode([id]) });
      topLogprobs!.forEach((top, place) => {
        if (top.id !== id) expect(at[top.id]).toMatchObject({ logprob: top.logprob, rank: place + 1 });
      });
      expect(Object.keys(at).length).toBe(new Set([id, ...topLogprobs!.map((t) => t.id)]).size);
    });
  });

  it('is refused in words where it does not fit', async () => {
    for (const max_tokens of [0, 1]) {
      const long = complete({ prompt: 'long '.repeat(2000), echo: true, max_tokens, logprobs: 1 });
      await expect(long).rejects.toMatchObject({
        status: 400,
        param: 'prompt',
        code: 'context_length_exceeded',
      });
    }
    await expect(complete({ prompt: 'a', prompt_logprobs: 21 })).rejects.toMatchObject({
      param: 'prompt_logprobs',
    });
    const aborted = engine.completions.create(
      { prompt: TEXT, echo: true, logprobs: 1, max_tokens: 0 },
      { signal: AbortSignal.abort(new Error('enough')) },
    );
    await expect(aborted).rejects.toThrow('enough');
  });
});

describe('/v1/embeddings', () => {
  it('of a model that was made for something else is refused, unless it is asked for', async () => {
    const refused = engine.embeddings.create({ input: 'a' });
    await expect(refused).rejects.toThrow(ApiError);
    await expect(refused).rejects.toMatchObject({ status: 400, param: 'model' });
    const { data } = await engine.embeddings.create({ input: 'a', any_model: true });
    expect(data).toHaveLength(1);
  });

  it('gives what the model gives, as numbers and as base64', async () => {
    const { source } = await embeddingFiles();
    const own = engineOf(await loadModel(source, { contextLength: 64 }), { modelId: 'tiny' });
    try {
      const ids = [5, 6, 7];
      const { data, usage } = await own.embeddings.create({ input: [ids, [9]], dimensions: 12 });
      expect(usage).toEqual({ prompt_tokens: 4, total_tokens: 4 });
      const coded = await own.embeddings.create({ input: ids, dimensions: 12, encoding_format: 'base64' });
      const bytes = Uint8Array.from(atob(coded.data[0]!.embedding), (c) => c.charCodeAt(0));
      expect([...new Float32Array(bytes.buffer)]).toEqual(data[0]!.embedding);
      expect(Math.hypot(...data[0]!.embedding)).toBeCloseTo(1, 6);
    } finally {
      await own.dispose();
    }
  });
});

describe('/v1/rerank', () => {
  const query = 'What is the capital of Norway?';
  const documents = ['Norwegians ski.', { text: 'The capital of Norway is Oslo.' }, 'Oslo'];

  it('ranks documents, of which it gives the best with their texts as asked', async () => {
    const { results } = await model.rerank(
      query,
      ['Norwegians ski.', 'The capital of Norway is Oslo.', 'Oslo'],
      {
        anyModel: true,
      },
    );
    const wanted = results.map(({ index, score }) => ({ index, relevance_score: score }));
    const { status, json } = await post('rerank', { model: 'tiny', query, documents, any_model: true });
    expect(status).toBe(200);
    expect(json).toMatchObject({
      model: 'tiny',
      results: wanted,
      usage: { prompt_tokens: expect.any(Number) },
    });
    const best = await engine.rerank({ query, documents, top_n: 1, return_documents: true, any_model: true });
    expect(best.results).toEqual([{ ...wanted[0], document: { text: expect.any(String) } }]);
  });

  it('of another model is refused, and so is what is no list of texts', async () => {
    await expect(engine.rerank({ query, documents })).rejects.toMatchObject({ status: 400, param: 'model' });
    const { status, json } = await post('rerank', { query, documents: ['a', 5] });
    expect({ status, error: json.error }).toMatchObject({ status: 400, error: { param: 'documents[1]' } });
  });
});
