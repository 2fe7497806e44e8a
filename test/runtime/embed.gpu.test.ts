/** Vectors and scores: those of the reference, of texts as the models' makers write their prompts, beside running answers. */
import { Tokenizer as OtherTokenizer } from '@huggingface/tokenizers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { embed } from '../../src/chat/embed.ts';
import type { PromptReader } from '../../src/chat/read-prompts.ts';
import { readPrompts } from '../../src/chat/read-prompts.ts';
import { scoreOf, yesOrNo } from '../../src/chat/rerank.ts';
import { scoreTokens } from '../../src/chat/score.ts';
import {
  ContextLengthError,
  InvalidInputError,
  type LoadOptions,
  loadModel,
  type Model,
  ModelStateError,
  UnsupportedConfigError,
} from '../../src/index.ts';
import type { RowLogprob } from '../../src/runtime/generate/session.ts';
import { openModel, type StartedModel, startModel } from '../../src/runtime/load/load.ts';
import type { Source } from '../../src/sources/source.ts';
import { fixtureFolders } from '../fixture-folders.ts';
import { freshSeed, seededRandom } from '../kernels/harness.ts';
import { type GoldenTensor, readGolden } from './golden.ts';
import { embeddingFiles, modules, pooling, rankingSource, tiny, withFiles } from './reading-checkpoints.ts';

const seed = freshSeed();
const random = seededRandom(seed);
const golden = (name: string): Source => fixtureFolders('goldens').find((f) => f.name === name)!.source;
const tinyModel = (name: string): Source => fixtureFolders('tinyModels').find((f) => f.name === name)!.source;
/** Of any vocabulary that there is here. */
const lowWords = (count: number): number[] => Array.from({ length: count }, () => Math.floor(random() * 256));
const words = (count: number): number[] =>
  Array.from({ length: count }, () => 20 + Math.floor(random() * 900));

type Read = PromptReader & Pick<StartedModel, 'dispose'>;

/** The fixtures have no tokenizer: their prompts are ids. */
async function reader(source: Source, options: LoadOptions): Promise<Read> {
  const opened = await openModel(source, options);
  const { session, hiddenSize, info, dispose } = await startModel(opened, options);
  const { contextLength } = info;
  return { session, hiddenSize, contextLength, source, dispose, tokenizer: undefined as never };
}

const promptsOf = (tensors: Map<string, GoldenTensor>): { name: string; ids: number[] }[] =>
  [...tensors.entries()]
    .filter(([key]) => key.endsWith('.input_ids'))
    .map(([key, { data }]) => ({ name: key.split('.')[0]!, ids: Array.from(data) }));

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((sum, x, i) => sum + x * b[i]!, 0);
const largest = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Math.max(...Array.from(a, (x, i) => Math.abs(x - b[i]!)));

describe.each(['f32', 'auto'] as const)('Qwen3-Embedding in %s', (precision) => {
  it('gives the vectors of the reference, whole and cut, one by one and side by side', async () => {
    const source = golden('qwen3-embedding');
    const tensors = await readGolden(source);
    const prompts = promptsOf(tensors);
    const read = await reader(source, { contextLength: 160, prefillRows: 48, precision });
    const expectClose = (found: Float32Array, wanted: ArrayLike<number>, about: string): void => {
      expect(found, about).toHaveLength(wanted.length);
      expect(Math.abs(dot(found, found) - 1), about).toBeLessThan(1e-6);
      if (precision === 'f32') expect(largest(found, wanted), about).toBeLessThan(1e-4);
      expect(dot(found, wanted), about).toBeGreaterThan(0.9999);
    };
    try {
      const together = await embed(
        read,
        prompts.map(({ ids }) => ids),
        {},
      );
      expect(together.usage.promptTokens).toBe(prompts.reduce((sum, { ids }) => sum + ids.length, 0));
      for (const [i, { name, ids }] of prompts.entries()) {
        const wanted = tensors.get(`${name}.embedding`)!.data;
        expectClose(together.embeddings[i]!, wanted, name);
        const alone = await embed(read, ids, {});
        expectClose(alone.embeddings[0]!, wanted, name);
        for (const dimensions of [24, 32, 64]) {
          const { embeddings } = await embed(read, Uint32Array.from(ids), { dimensions });
          expectClose(embeddings[0]!, tensors.get(`${name}.embedding.dim${dimensions}`)!.data, name);
        }
      }
    } finally {
      read.dispose();
    }
  });
});

it('Qwen3-Reranker gives the scores of the reference', async () => {
  const source = golden('qwen3-reranker');
  const [yes, no] = [171, 37];
  const tensors = await readGolden(source);
  const prompts = promptsOf(tensors);
  const read = await reader(source, { contextLength: 160, prefillRows: 48, precision: 'f32' });
  try {
    const questions = prompts.map(({ ids }) => yesOrNo(ids, yes, no));
    const { values } = await readPrompts(read, questions, 'Prompt', undefined);
    for (const [i, { name }] of prompts.entries()) {
      const [wanted] = tensors.get(`${name}.score`)!.data;
      expect(Math.abs(scoreOf(values[i] as RowLogprob[]) - wanted!), name).toBeLessThan(1e-4);
    }
  } finally {
    read.dispose();
  }
});

const sharing: [name: string, source: () => Source, options: LoadOptions][] = [
  ['experts', () => tinyModel('tiny-qwen3-moe'), {}],
  ['latents, experts and a module that drafts', () => tinyModel('tiny-deepseek-v3'), { speculate: 'mtp' }],
  ['windows', () => golden('qwen2-swa'), {}],
  ['keys in int8', () => tiny, { kvFormat: 'int8' }],
  ['chunks of few rows', () => tiny, { prefillRows: 12 }],
];
it.each(sharing)('short texts share passes, each as it is alone: with %s', async (_, source, options) => {
  const load = {
    contextLength: 96,
    cacheTokens: 2048,
    prefillRows: 64,
    debug: { selfTest: false },
    ...options,
  };
  // Two, so that each computes everything.
  const [one, other] = [await reader(source(), load), await reader(source(), load)];
  try {
    const any = { anyModel: true };
    const ids = Array.from({ length: 12 }, () => lowWords(1 + Math.floor(random() * 20)));
    const text = lowWords(90);
    const alone = [];
    for (const own of ids) alone.push((await embed(one, own, any)).embeddings[0]);
    const score = await scoreTokens(one.session, text, { logprobs: 1 });
    const [together, scored] = await Promise.all([
      embed(other, ids, any),
      scoreTokens(other.session, text, { logprobs: 1 }),
    ]);
    expect(together.embeddings, `seed ${seed}`).toEqual(alone);
    expect(scored, `seed ${seed}`).toEqual(score);
    expect(other.session.counts.chunks).toBeLessThan(one.session.counts.chunks);
    expect(other.session.counts.bySequences.length, 'the most side by side').toBeGreaterThan(2);
  } finally {
    one.dispose();
    other.dispose();
  }
});

describe('a model that embeds texts', () => {
  let model: Model;
  let encode: (text: string) => number[];
  beforeAll(async () => {
    const { tokenizer, config, source } = await embeddingFiles();
    const other = new OtherTokenizer(tokenizer, config);
    encode = (given) => Array.from(other.encode(given).ids, Number);
    model = await loadModel(source, {
      contextLength: 192,
      cacheTokens: 512,
      prefillRows: 32,
      precision: 'f32',
    });
  });
  afterAll(() => model?.dispose());

  it('embeds a text with the token that its tokenizer puts behind it, and a query with its instruction', async () => {
    const texts = ['The capital of China is Beijing.', '', 'Gravität zieht 你好 <|im_end|> an.'];
    const { embeddings, usage } = await model.embed(texts);
    const ids = texts.map(encode);
    for (const own of ids) expect(own.at(-1)).toBe(encode('').at(-1));
    expect(usage.promptTokens).toBe(ids.flat().length);
    expect((await model.embed(ids)).embeddings).toEqual(embeddings);
    expect((await model.embed(texts[0]!)).embeddings).toEqual(embeddings.slice(0, 1));
    const task = 'Given a web search query, retrieve relevant passages that answer the query';
    const query = await model.embed('What is gravity?', { instruction: task });
    const asWritten = encode(`Instruct: ${task}\nQuery:What is gravity?`);
    expect(query.embeddings).toEqual((await model.embed(asWritten)).embeddings);
  });

  it('gives what an inspection finds at the last token', async () => {
    const ids = words(70);
    const { shape, data } = (await model.inspect(ids, ['model.norm'])).get('model.norm')!;
    const last = Array.from(data.slice(-shape[1]));
    const length = Math.hypot(...last);
    const [found] = (await model.embed(ids)).embeddings;
    expect(
      largest(
        found!,
        last.map((x) => x / length),
      ),
    ).toBeLessThan(1e-5);
  });

  it('gives every text the same vector in any company, and answers their tokens', async () => {
    const ids = Array.from({ length: 24 }, () => words(1 + Math.floor(random() * 120)));
    const alone = [];
    for (const own of ids) alone.push(...(await model.embed(own)).embeddings);
    const prompt = words(30);
    const answer = async (): Promise<number[]> => {
      const found: number[] = [];
      for await (const { id } of model.generate(prompt, { temperature: 0, maxTokens: 60, stopTokens: [] }))
        found.push(id);
      return found;
    };
    const quiet = await answer();
    const [{ embeddings }, beside] = await Promise.all([model.embed(ids), answer()]);
    expect(embeddings, `seed ${seed}`).toEqual(alone);
    expect(beside, `seed ${seed}`).toEqual(quiet);
  });

  it('ends with its signal', async () => {
    const stopped = new AbortController();
    const embedding = model.embed(
      Array.from({ length: 60 }, () => words(100)),
      { signal: stopped.signal },
    );
    setTimeout(() => stopped.abort(new Error('enough')), 20);
    await expect(embedding).rejects.toThrow('enough');
    expect((await model.embed('again')).embeddings).toHaveLength(1);
  });

  it('says what is wrong with what it is given', async () => {
    for (const input of [[], [[]], [1, 'a'], [null], undefined, 7]) {
      await expect(model.embed(input as never), JSON.stringify(input)).rejects.toThrow(InvalidInputError);
    }
    for (const dimensions of [0, -1, 1.5, 1e6])
      await expect(model.embed('a', { dimensions })).rejects.toThrow(/dimensions is .* from 1 to \d+/);
    await expect(model.embed([5], { instruction: 'a' })).rejects.toThrow(/token ids/);
    await expect(model.embed([[5], [6, 1e9]])).rejects.toThrow(InvalidInputError);
    await expect(model.embed([[5], words(193)])).rejects.toThrow(ContextLengthError);
    await expect(model.embed([[5], words(193)])).rejects.toThrow(
      /Text 1 has 193 tokens, the context holds 192/,
    );
  });
});

describe('a model that was made for chats', () => {
  let model: Model;
  beforeAll(async () => {
    const source = await rankingSource();
    model = await loadModel(source, { contextLength: 256, prefillRows: 32, precision: 'f32' });
  });
  afterAll(() => model?.dispose());

  it('refuses in words, unless it is asked for all the same', async () => {
    await expect(model.embed('a')).rejects.toThrow(/was made for embeddings .*anyModel: true/);
    await expect(model.rerank('a', ['b'])).rejects.toThrow(/was made for reranking.*anyModel: true/);
    expect((await model.embed('a', { anyModel: true })).embeddings).toHaveLength(1);
  });

  it('ranks documents by what it says to the prompt of Qwen3-Reranker', async () => {
    const documents = ['Oslo is in Norway.', 'Norwegians ski.', 'The capital of Norway is Oslo.'];
    const instruction = 'Find the answer';
    const { results, usage } = await model.rerank('What is the capital of Norway?', documents, {
      instruction,
      anyModel: true,
    });
    expect(results.map(({ index }) => index).toSorted()).toEqual([0, 1, 2]);
    expect(results.map(({ score }) => score)).toEqual(
      results.map(({ score }) => score).toSorted((a, b) => b - a),
    );
    // The first to come computes what all have in common.
    expect(usage.cachedTokens).toBeGreaterThan(60);
    for (const { index, score } of results) {
      const parts = [
        '<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n',
        `<Instruct>: ${instruction}\n<Query>: What is the capital of Norway?\n<Document>: ${documents[index]}`,
        '<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n',
      ];
      const ids = parts.flatMap((part) => [...model.tokenizer.encode(part, { addBos: false })]);
      const { shape, data } = (await model.inspect(ids, ['lm_head'])).get('lm_head')!;
      const logits = data.subarray(-shape[1]);
      const [yes, no] = ['yes', 'no'].map((word) => Math.exp(logits[model.tokenizer.tokenToId(word)!]!));
      expect(Math.abs(score - yes! / (yes! + no!))).toBeLessThan(1e-5);
    }
  });

  it('says what is wrong with what it is given', async () => {
    for (const [query, documents] of [
      ['a', []],
      ['a', [1]],
      [1, ['a']],
      ['a', 'b'],
    ])
      await expect(model.rerank(query as never, documents as never)).rejects.toThrow(InvalidInputError);
    const long = model.rerank('a', ['b', 'word '.repeat(200)], { anyModel: true });
    await expect(long).rejects.toThrow(/The prompt of document 1 has \d+ tokens/);
  });
});

it.each([
  [
    'another pooling',
    { '1_Pooling/config.json': { pooling_mode_mean_tokens: true } },
    /"mean_tokens", wanted lasttoken/,
  ],
  ['no pooling', { '1_Pooling/config.json': undefined }, /wanted lasttoken/],
  [
    'a module that is not known',
    { 'modules.json': [...modules, { path: '3_Dense', type: 'sentence_transformers.models.Dense' }] },
    /modules\.json has Dense/,
  ],
  ['no list of modules', { 'modules.json': 5 }, /modules\.json has 5/],
])('a checkpoint with %s is refused by name, whatever is asked for', async (_, files, message) => {
  const given = { 'modules.json': modules, '1_Pooling/config.json': pooling, ...files };
  const model = await loadModel(withFiles(tiny, given), { contextLength: 64, debug: { selfTest: false } });
  try {
    await expect(model.embed('a', { anyModel: true })).rejects.toThrow(UnsupportedConfigError);
    await expect(model.embed('a')).rejects.toThrow(message);
  } finally {
    model.dispose();
  }
});

it('a model that is disposed of says so', async () => {
  const model = await loadModel(tiny, { contextLength: 192, prefillRows: 16, debug: { selfTest: false } });
  const embedding = model.embed(
    Array.from({ length: 30 }, () => words(150)),
    { anyModel: true },
  );
  setTimeout(() => model.dispose());
  await expect(embedding).rejects.toThrow(ModelStateError);
});
