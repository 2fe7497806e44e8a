/** How likely prompts are: as independent implementations say, and as a softmax of the model's own logits says. */
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { randomSource } from '../../bench/random-checkpoint.ts';
import { scoreTokens } from '../../src/chat/score.ts';
import {
  ContextLengthError,
  InvalidInputError,
  type LoadOptions,
  loadModel,
  type Model,
  ModelStateError,
  type ScoredToken,
  type Speculation,
} from '../../src/index.ts';
import { openModel, type StartedModel, startModel } from '../../src/runtime/load/load.ts';
import type { Source } from '../../src/sources/source.ts';
import { fixtureFolders } from '../fixture-folders.ts';
import { freshSeed, seededRandom } from '../kernels/harness.ts';
import { tokenLogprob } from '../reference/token-logprob.ts';
import { topLogits } from '../reference/top-logits.ts';
import { pickRows, readGolden } from './golden.ts';
import { withLongContext } from './long-context.ts';

/** What the makers of the goldens ask of logits in f32; a logprob is the difference of two such numbers. */
const GOLDEN_TOLERANCE = 5e-4;
/** Chunks that end within prompts and blocks. */
const CHUNK_ROWS = 48;

const seed = freshSeed();
const random = seededRandom(seed);
const tiny = (name: string): Source => fixtureFolders('tinyModels').find((f) => f.name === name)!.source;
const words = (count: number): number[] =>
  Array.from({ length: count }, () => 20 + Math.floor(random() * 900));

async function start(source: Source, options: LoadOptions): Promise<StartedModel> {
  return startModel(await openModel(source, options), options);
}

const isInNode = import.meta.env.SSR;
const everyCase = inject('everyCase');
describe.each(
  fixtureFolders('goldens')
    .filter(({ files }) => files.includes('golden.json'))
    // Its kernels compile for minutes.
    .filter(({ name }) => everyCase || !name.includes('desc-act'))
    .filter((_, i) => everyCase || i % (isInNode ? 3 : 10) === 0),
)('$name', ({ source }) => {
  it('tells of every token of a prompt what the reference says', async () => {
    const golden = await readGolden(source);
    const lengths = [...golden.keys()].flatMap((key) => key.match(/^p(\d+)\.input_ids$/)?.[1] ?? []);
    const contextLength = Math.max(...lengths.map(Number));
    const started = await start(withLongContext(source, contextLength), {
      contextLength,
      prefillRows: CHUNK_ROWS,
      precision: 'f32',
      debug: { selfTest: false },
    });
    try {
      for (const length of lengths) {
        const at = (name: string): ArrayLike<number> => golden.get(`p${length}.${name}`)!.data;
        const ids = Array.from(at('input_ids'));
        const scored = await scoreTokens(started.session, ids, {});
        expect(scored.map(({ id }) => id)).toEqual(ids);
        const logits = golden.get(`p${length}.logits`)!;
        Array.from(at('rows')).forEach((position, r) => {
          const next = ids[position + 1];
          if (next === undefined) return;
          const [logit] = pickRows(logits.data as Float32Array, logits.shape[1]!, [r]).subarray(next);
          const wanted = logit! - at('logits_lse')[position]!;
          expect(Math.abs(scored[position + 1]!.logprob! - wanted), `p${length} ${position}`).toBeLessThan(
            GOLDEN_TOLERANCE,
          );
        });
        // Which token is the likeliest is told for every position.
        ids.slice(1).forEach((id, i) => {
          if (at('logits_margin')[i]! < GOLDEN_TOLERANCE) return;
          expect(scored[i + 1]!.rank === 1, `p${length} ${i}`).toBe(at('logits_argmax')[i] === id);
        });
      }
    } finally {
      started.dispose();
    }
  });
});

/** Compares with a softmax in float64 of the logits that an inspection finds. */
async function expectSoftmax(
  model: Model,
  ids: readonly number[],
  scored: readonly ScoredToken[],
): Promise<void> {
  const { shape, data } = (await model.inspect(ids, ['lm_head'])).get('lm_head')!;
  expect(scored[0]).toEqual({ id: ids[0], logprob: undefined, rank: undefined });
  for (const [i, { id, logprob, rank, topLogprobs }] of scored.entries()) {
    if (i === 0) continue;
    const about = `token ${i}, seed ${seed}`;
    expect(id).toBe(ids[i]);
    const logits = data.subarray((i - 1) * shape[1], i * shape[1]);
    // Other kernels computed the rows.
    const tolerance = 1e-4;
    expect(Math.abs(logprob! - tokenLogprob(logits, id).logprob), about).toBeLessThan(tolerance);
    const near = logits.filter((x) => Math.abs(x - logits[id]!) < tolerance).length;
    expect(Math.abs(rank! - tokenLogprob(logits, id).rank), about).toBeLessThan(near);
    if (!topLogprobs) continue;
    const wanted = topLogits(logits, topLogprobs.length);
    topLogprobs.forEach((top, place) => {
      expect(Math.abs(top.logprob - tokenLogprob(logits, top.id).logprob), about).toBeLessThan(tolerance);
      const { logprob: likeliest } = tokenLogprob(logits, wanted[place]!.id);
      expect(Math.abs(top.logprob - likeliest), about).toBeLessThan(tolerance);
    });
  }
}

const runs: [name: string, speculate: Speculation | undefined][] = [
  ['tiny-qwen3', undefined],
  ['tiny-qwen3-moe', 'lookup'],
  ['tiny-deepseek-v3', 'mtp'],
];
describe.each(runs)('%s, speculating with %s', (name, speculate) => {
  let model: Model;
  beforeAll(async () => {
    model = await loadModel(tiny(name), {
      contextLength: 160,
      prefillRows: 32,
      precision: 'f32',
      ...(speculate && { speculate }),
    });
  });
  afterAll(() => model?.dispose());

  it('tells the softmax of the logits, whatever is in the cache already', async () => {
    for (const length of [1, 2, 33, 100, 160]) {
      const ids = words(length);
      const scored = await model.score(ids, { logprobs: length % 21 });
      await expectSoftmax(model, ids, scored);
      expect(await model.score(ids, { logprobs: length % 21 })).toEqual(scored);
      for (const { topLogprobs } of scored.slice(1)) expect(topLogprobs).toHaveLength(length % 21);
    }
  });

  it('leaves the prompt in the cache, and answers as they were', async () => {
    const ids = words(100);
    const greedy = { temperature: 0, maxTokens: 12, stopTokens: [] };
    const answer = async (): Promise<{ ids: number[]; cached: number }> => {
      const generation = model.generate(ids, greedy);
      let next = await generation.next();
      while (!next.done) next = await generation.next();
      return { ids: next.value.ids, cached: next.value.usage.cachedTokens };
    };
    await model.score(ids);
    const first = await answer();
    expect(first.cached).toBe(99);
    await model.score(ids);
    expect(await answer()).toEqual(first);
  });
});

describe('beside answers', () => {
  let model: Model;
  beforeAll(async () => {
    // Room for a few: some are put back.
    model = await loadModel(tiny('tiny-qwen3'), {
      contextLength: 192,
      cacheTokens: 448,
      prefillRows: 16,
      precision: 'f32',
    });
  });
  afterAll(() => model?.dispose());

  const answer = async (ids: readonly number[]): Promise<number[]> => {
    const found: number[] = [];
    for await (const { id } of model.generate(ids, { temperature: 0, maxTokens: 40, stopTokens: [] }))
      found.push(id);
    return found;
  };

  it('neither changes the other, however many run', async () => {
    const prompts = Array.from({ length: 5 }, () => words(20 + Math.floor(random() * 100)));
    const texts = Array.from({ length: 5 }, () => words(2 + Math.floor(random() * 188)));
    const alone = [];
    for (const ids of prompts) alone.push(await answer(ids));
    const scores = [];
    for (const ids of texts) scores.push(await model.score(ids, { logprobs: 3 }));
    const [answers, scored] = await Promise.all([
      Promise.all(prompts.map(answer)),
      Promise.all(texts.map((ids) => model.score(ids, { logprobs: 3 }))),
    ]);
    expect(answers, `seed ${seed}`).toEqual(alone);
    expect(scored, `seed ${seed}`).toEqual(scores);
  });

  it('ends with its signal, and what waits behind it goes on', async () => {
    const stopped = new AbortController();
    const scoring = model.score(words(190), { signal: stopped.signal });
    const other = model.score(words(30));
    stopped.abort(new Error('enough'));
    await expect(scoring).rejects.toThrow('enough');
    expect(await other).toHaveLength(30);
    await expect(model.score([1, 2], { signal: AbortSignal.abort(new Error('before')) })).rejects.toThrow(
      'before',
    );
  });

  it('says what is wrong with what it is given', async () => {
    await expect(model.score([])).rejects.toThrow(InvalidInputError);
    await expect(model.score([1, -1])).rejects.toThrow(InvalidInputError);
    await expect(model.score([1, 1e9])).rejects.toThrow(InvalidInputError);
    await expect(model.score([1.5])).rejects.toThrow(InvalidInputError);
    await expect(model.score(words(193))).rejects.toThrow(ContextLengthError);
    for (const logprobs of [-1, 21, 1.5])
      await expect(model.score([1, 2], { logprobs })).rejects.toThrow(InvalidInputError);
  });
});

describe('a vocabulary of which logits of a chunk would be too many', () => {
  const config = {
    architectures: ['Qwen3ForCausalLM'],
    model_type: 'qwen3',
    vocab_size: 131_073,
    hidden_size: 32,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    head_dim: 16,
    intermediate_size: 48,
    rms_norm_eps: 1e-6,
    rope_theta: 10_000,
    max_position_embeddings: 512,
    tie_word_embeddings: true,
    torch_dtype: 'bfloat16',
  };

  it('is scored a few rows at a time', async () => {
    const { session, dispose } = await start(randomSource({ config }), {
      contextLength: 256,
      prefillRows: 200,
      precision: 'f32',
    });
    try {
      const ids = Array.from({ length: 210 }, () => Math.floor(random() * config.vocab_size));
      const before = session.counts.gpuPeakBytes;
      const scored = await scoreTokens(session, ids, {});
      // All at once would take 105 MB.
      expect(session.counts.gpuPeakBytes - before).toBeLessThan(34 << 20);
      const rows = [0, 1, 47, 48, 62, 63, 64, 127, 128, 199, 200, 208];
      const { data } = (await session.inspect(ids, ['lm_head'], 64)).get('lm_head')!;
      for (const row of rows) {
        const logits = data.subarray(row * config.vocab_size, (row + 1) * config.vocab_size);
        const wanted = tokenLogprob(logits, ids[row + 1]!);
        expect(Math.abs(scored[row + 1]!.logprob! - wanted.logprob), `row ${row}`).toBeLessThan(1e-4);
      }
    } finally {
      dispose();
    }
  });
});

it('a model that is disposed of says so', async () => {
  const model = await loadModel(tiny('tiny-qwen3'), { contextLength: 128, prefillRows: 16 });
  const scoring = model.score(words(120));
  model.dispose();
  await expect(scoring).rejects.toThrow(ModelStateError);
});
