/** Clients that apps use already, asking for embeddings: with an engine for their `fetch`, in Node and in a page. */
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { OpenAIEmbeddings } from '@langchain/openai';
import { embed, embedMany } from 'ai';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createEngine, type Engine } from '../../src/index.ts';
import { embeddingFiles } from '../runtime/reading-checkpoints.ts';

const MODEL = 'tiny-embedding';
const texts = ['The capital of China is Beijing.', 'Gravity attracts.', '你好'];

let engine: Engine;
/** What the engine itself gives, whole and cut. */
let whole: number[][];
let cut: number[][];
beforeAll(async () => {
  const { source } = await embeddingFiles();
  engine = await createEngine(source, { modelId: MODEL, contextLength: 128 });
  const vectors = async (dimensions?: number): Promise<number[][]> => {
    const { data } = await engine.embeddings.create({ input: texts, ...(dimensions && { dimensions }) });
    return data.map(({ embedding }) => embedding);
  };
  whole = await vectors();
  cut = await vectors(8);
}, 60_000);
afterAll(() => engine?.dispose());

const place = () => ({ baseURL: 'http://localhost/v1', fetch: engine.fetch });

describe('the openai package', () => {
  const client = (): OpenAI => new OpenAI({ apiKey: 'none', ...place(), dangerouslyAllowBrowser: true });

  it('gets vectors, which it asks for in base64, or as numbers', async () => {
    const { data, usage, model } = await client().embeddings.create({ model: MODEL, input: texts });
    expect(data.map(({ embedding }) => Array.from(embedding))).toEqual(whole);
    expect(data.map(({ index, object }) => ({ index, object }))).toEqual(
      texts.map((_, index) => ({ index, object: 'embedding' })),
    );
    expect(usage.total_tokens).toBe(usage.prompt_tokens);
    expect(model).toBe(MODEL);
    const numbers = await client().embeddings.create({
      model: MODEL,
      input: texts[0]!,
      dimensions: 8,
      encoding_format: 'float',
    });
    expect(numbers.data.map(({ embedding }) => embedding)).toEqual(cut.slice(0, 1));
  });

  it('throws its own errors, which name the field', async () => {
    const wrong = client().embeddings.create({ model: MODEL, input: texts, dimensions: 1e6 });
    await expect(wrong).rejects.toThrow(OpenAI.BadRequestError);
    await expect(wrong).rejects.toMatchObject({ param: 'dimensions' });
    const long = client().embeddings.create({ model: MODEL, input: ['a', 'long '.repeat(500)] });
    await expect(long).rejects.toMatchObject({ param: 'input', code: 'context_length_exceeded' });
  });
});

it('the ai package with its OpenAI-compatible provider gets vectors of one text and of many', async () => {
  const provider = createOpenAICompatible({ name: 'local', ...place() });
  const model = provider.embeddingModel(MODEL);
  const { embeddings, usage } = await embedMany({ model, values: texts });
  expect(embeddings).toEqual(whole);
  expect(usage.tokens).toBeGreaterThan(texts.length);
  const { embedding } = await embed({
    model,
    value: texts[1]!,
    providerOptions: { openaiCompatible: { dimensions: 8 } },
  });
  expect(embedding).toEqual(cut[1]);
});

it("LangChain's OpenAIEmbeddings gets vectors of documents and of a query", async () => {
  const settings = { apiKey: 'none', model: MODEL, stripNewLines: false, maxRetries: 0 };
  const configuration = { ...place(), dangerouslyAllowBrowser: true };
  const embeddings = new OpenAIEmbeddings({ ...settings, configuration });
  expect((await embeddings.embedDocuments(texts)).map((vector) => [...vector])).toEqual(whole);
  const short = new OpenAIEmbeddings({ ...settings, dimensions: 8, configuration });
  expect([...(await short.embedQuery(texts[0]!))]).toEqual(cut[0]);
});
