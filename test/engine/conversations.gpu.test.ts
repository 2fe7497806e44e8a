/** Several conversations with one model: each keeps what it has computed, and none disturbs another. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { samplingParams } from '../../src/engine/generation-config.ts';
import { openModel, type StartedModel, startModel } from '../../src/engine/load.ts';
import {
  DeviceLostError,
  type GenerateOptions,
  type GenerateResult,
  InvalidInputError,
  type LoadOptions,
  loadModel,
  type Model,
  ModelStateError,
  type Speculation,
} from '../../src/index.ts';
import { fixtureFolders } from '../fixture-folders.ts';
import { freshSeed, seededRandom } from '../kernels/harness.ts';
import { gpuWith, watchBuffers } from './watched-gpu.ts';

const tiny = (name: string) => fixtureFolders('tinyModels').find((f) => f.name === name)!.source;
const small = { contextLength: 160, prefillRows: 16, precision: 'f32' } satisfies LoadOptions;
const everyCase = process.env.EVERY_CASE === '1';
const NUM_REQUESTS = everyCase ? 100 : 12;

const seed = freshSeed();
const random = seededRandom(seed);
/** Random text of tokens that end nothing. */
const words = (count: number): number[] =>
  Array.from({ length: count }, () => 20 + Math.floor(random() * 900));

/** A greedy answer of exactly 8 tokens unless told otherwise. */
async function answer(
  model: Model,
  ids: readonly number[],
  options: GenerateOptions = {},
  onToken: (count: number) => void = () => {},
): Promise<GenerateResult> {
  const generation = model.generate(ids, { temperature: 0, stopTokens: [], maxTokens: 8, ...options });
  let next = await generation.next();
  for (let count = 1; !next.done; count++) {
    onToken(count);
    next = await generation.next();
  }
  return next.value;
}

const runs: [name: string, speculate: Speculation | undefined][] = [
  ['tiny-qwen3', undefined],
  ['tiny-deepseek-v3', 'mtp'],
  ...(everyCase ? ([['tiny-qwen3', 'lookup']] satisfies [string, Speculation][]) : []),
];

describe.each(runs)('%s, speculating with %s', (name, speculate) => {
  /** Tokens at the end of what was computed that a module that drafts makes anew. */
  const lag = speculate === 'mtp' ? 4 : 1;
  let model: Model;
  let alone: Model;
  beforeAll(async () => {
    model = await loadModel(tiny(name), { ...small, conversations: 3, ...(speculate && { speculate }) });
    alone = await loadModel(tiny(name), small);
  });
  afterAll(() => {
    model?.dispose();
    alone?.dispose();
  });

  it('two conversations that take turns each compute only what is new, and answer as each would alone', async () => {
    const system = words(20);
    let chats = [
      [...system, ...words(13)],
      [...system, ...words(9)],
    ];
    for (let turn = 0; turn < 3; turn++) {
      const before = chats.map((ids) => ids.length);
      for (const [i, ids] of chats.entries()) {
        const { ids: found, usage } = await answer(model, ids);
        expect(found, `seed ${seed}`).toEqual((await answer(alone, ids)).ids);
        // The first turn of the second has what both begin with, in chunks that the module has got through.
        if (turn > 0) expect(usage.cachedTokens).toBeGreaterThanOrEqual(before[i]! - 5 - lag);
        else if (i > 0) expect(usage.cachedTokens).toBeGreaterThanOrEqual(20 - lag);
        chats = chats.map((chat, c) => (c === i ? [...ids, ...found, ...words(5)] : chat));
      }
    }
  });

  it('answers side by side are what they are one after another, and share the prompt that they have in common', async () => {
    const prompt = words(70);
    const seeds = [1, 2, 3, 4];
    const drawn = { temperature: 1.3, maxTokens: 12 };
    const wanted = [];
    for (const choice of seeds) wanted.push((await answer(alone, prompt, { ...drawn, seed: choice })).ids);
    const found = await Promise.all(seeds.map((choice) => answer(model, prompt, { ...drawn, seed: choice })));
    expect(
      found.map(({ ids }) => ids),
      `seed ${seed}`,
    ).toEqual(wanted);
    const cached = found.map(({ usage }) => usage.cachedTokens);
    expect(cached[0]).toBeLessThan(5);
    // The module that drafts runs over a chunk when the next has begun.
    for (const count of cached.slice(1)) expect(count).toBeGreaterThanOrEqual(speculate === 'mtp' ? 48 : 69);
  });
});

describe('requests', () => {
  let model: Model;
  let alone: Model;
  beforeAll(async () => {
    model = await loadModel(tiny('tiny-qwen3'), { ...small, conversations: 2 });
    alone = await loadModel(tiny('tiny-qwen3'), small);
  });
  afterAll(() => {
    model?.dispose();
    alone?.dispose();
  });

  it('that run go on while a long prompt is computed', async () => {
    const events: string[] = [];
    const long = words(150);
    let later: Promise<GenerateResult> | undefined;
    await answer(model, words(5), { maxTokens: 60 }, (count) => {
      events.push('first');
      if (count === 3) {
        events.push('asked');
        later = answer(model, long, { maxTokens: 4 }, () => events.push('second'));
      }
    });
    await later;
    const between = events.slice(events.indexOf('asked') + 1, events.indexOf('second'));
    expect(between.length).toBeGreaterThan(2);
    // And the other way round.
    expect(events.lastIndexOf('first')).toBeGreaterThan(events.lastIndexOf('second'));
  });

  it('that wait leave at once when aborted, and those behind them are served in order', async () => {
    const stopper = new AbortController();
    const events: string[] = [];
    const run = (name: string, options: GenerateOptions = {}) =>
      answer(alone, words(12), options, (count) => count === 1 && events.push(name));
    const first = run('first', { maxTokens: 30 });
    const left = run('left', { signal: stopper.signal }).then(({ finishReason, ids }) => {
      events.push(`left: ${finishReason}`);
      return ids;
    });
    const behind = ['second', 'third', 'fourth'].map((name) => run(name));
    await new Promise((resolve) => setTimeout(resolve));
    stopper.abort();
    expect(await left).toEqual([]);
    expect(events.at(-1)).toBe('left: abort');
    expect((await first).ids).toHaveLength(30);
    await Promise.all(behind);
    expect(events.filter((event) => !event.startsWith('left'))).toEqual([
      'first',
      'second',
      'third',
      'fourth',
    ]);
    expect((await answer(alone, words(3), { signal: AbortSignal.abort() })).finishReason).toBe('abort');
  });

  it('that are aborted make room within a step', async () => {
    const stopper = new AbortController();
    let later: Promise<GenerateResult> | undefined;
    const { finishReason, ids } = await answer(
      alone,
      words(12),
      { maxTokens: 90, signal: stopper.signal },
      (count) => {
        later ??= answer(alone, words(4));
        if (count === 5) stopper.abort();
      },
    );
    expect([finishReason, ids.length]).toEqual(['abort', 5]);
    expect((await later!).ids).toHaveLength(8);
  });

  describe(`${NUM_REQUESTS} at once with random aborts`, () => {
    const system = words(18);
    const prompts = Array.from({ length: NUM_REQUESTS }, (_, i) => [
      ...(i % 3 ? system : []),
      ...words(1 + Math.floor(random() * 30)),
    ]);
    const wanted: number[][] = [];
    beforeAll(async () => {
      for (const ids of prompts) wanted.push((await answer(alone, ids)).ids);
    });

    it.each([1, 3])(
      'on %i conversations are answered as each would be alone, and leave no memory behind',
      async (conversations) => {
        await watchBuffers(async (live) => {
          const busy = await loadModel(tiny('tiny-qwen3'), { ...small, conversations });
          try {
            // All conversations have been used then.
            await Promise.all(prompts.slice(0, 3).map((ids) => answer(busy, ids, { maxTokens: 1 })));
            const before = live.bytes;
            const found = await Promise.all(
              prompts.map((ids) => {
                const stopper = new AbortController();
                const kind = random();
                const last = 1 + Math.floor(random() * 7);
                if (kind < 0.2) setTimeout(() => stopper.abort(), 300 * random());
                return answer(busy, ids, { signal: stopper.signal }, (count) => {
                  if (kind > 0.8 && count === last) stopper.abort();
                });
              }),
            );
            expect(live.bytes).toBe(before);
            expect(busy.info.kvBytes).toBe(conversations * alone.info.kvBytes);
            for (const [i, { ids, finishReason }] of found.entries()) {
              const whole = finishReason === 'abort' ? wanted[i]!.slice(0, ids.length) : wanted[i];
              expect(ids, `prompt ${i}, seed ${seed}`).toEqual(whole);
            }
          } finally {
            busy.dispose();
          }
        });
      },
    );
  });

  it('are all ended when the model is disposed of', async () => {
    const gone = await loadModel(tiny('tiny-qwen3'), small);
    const asked: Promise<unknown>[] = [];
    const running = answer(gone, words(6), { maxTokens: 50 }, (count) => {
      if (count === 1) {
        for (const length of [4, 5])
          asked.push(expect(answer(gone, words(length))).rejects.toThrow(ModelStateError));
      }
      if (count === 3) gone.dispose();
    });
    expect((await running).finishReason).toBe('abort');
    await Promise.all(asked);
    await expect(answer(gone, words(4))).rejects.toThrow(ModelStateError);
  });

  it('are all ended when the device is lost', async () => {
    let device: GPUDevice | undefined;
    const { createBuffer } = GPUDevice.prototype;
    GPUDevice.prototype.createBuffer = function (this: GPUDevice, descriptor) {
      device = this;
      return createBuffer.call(this, descriptor);
    };
    const gone = await loadModel(tiny('tiny-qwen3'), small).finally(() => {
      GPUDevice.prototype.createBuffer = createBuffer;
    });
    const waiting: Promise<unknown>[] = [];
    const running = answer(gone, words(6), { maxTokens: 50 }, (count) => {
      if (count !== 2) return;
      for (const length of [4, 5]) {
        waiting.push(expect(answer(gone, words(length))).rejects.toThrow(DeviceLostError));
      }
      device!.destroy();
    });
    await expect(running).rejects.toThrow(DeviceLostError);
    await Promise.all(waiting);
    await expect(answer(gone, words(4))).rejects.toThrow(DeviceLostError);
    gone.dispose();
  });

  it('look inside while others run', async () => {
    const ids = words(9);
    const wanted = (await alone.inspect(ids, ['lm_head'])).get('lm_head')!;
    const [found, { ids: said }] = await Promise.all([
      model.inspect(ids, ['lm_head']),
      answer(model, ids, { maxTokens: 20 }),
    ]);
    expect(found.get('lm_head')).toEqual(wanted);
    expect(said).toEqual((await answer(alone, ids, { maxTokens: 20 })).ids);
  });
});

it('memory that conversations need is what was said; where it is gone when they begin, fewer run side by side', async () => {
  const MiB = 2 ** 20;
  let memoryBytes = 512 * MiB;
  await watchBuffers(async (live) => {
    const options = { ...small, conversations: 3, gpu: gpuWith(() => memoryBytes) } satisfies LoadOptions;
    const model = await startModel(await openModel(tiny('tiny-qwen3'), options), options);
    const { kvBytes, activationBytes, weightBytes } = model.info;
    const ask = async ({ session }: StartedModel, count: number): Promise<number[][]> =>
      Promise.all(
        Array.from({ length: count }, async (_, i) => {
          const ids: number[] = [];
          const sampling = samplingParams({ temperature: 0, seed: 1 }, model.info.samplingDefaults);
          const run = { sampling, maxTokens: 6, accept: () => true };
          for await (const id of session.generate([30 + i, 40, 50], run)) ids.push(id);
          return ids;
        }),
      );
    const one = live.bytes;
    expect(one).toBeLessThan(weightBytes + kvBytes + activationBytes);
    memoryBytes = one + (weightBytes + kvBytes + activationBytes - one) * 0.6;
    const little = await ask(model, 5);
    // Room for one more, not for two; what the second got before it was refused is given back.
    expect(live.bytes).toBe(one + (weightBytes + kvBytes + activationBytes - one) / 2);
    expect(await ask(model, 5)).toEqual(little);
    model.dispose();

    memoryBytes = 512 * MiB;
    const rich = await startModel(await openModel(tiny('tiny-qwen3'), options), options);
    expect(await ask(rich, 5)).toEqual(little);
    expect(live.bytes).toBe(weightBytes + kvBytes + activationBytes);
    rich.dispose();
    expect(live.bytes).toBe(0);
  });
  await expect(loadModel(tiny('tiny-qwen3'), { conversations: 0 })).rejects.toThrow(InvalidInputError);
});

it('the second turn of a conversation of 1,500 tokens computes only what is new, and its first token comes sooner', async () => {
  const model = await loadModel(tiny('tiny-qwen3'), { contextLength: 1600, conversations: 2 });
  try {
    await answer(model, words(400), { maxTokens: 1 });
    const first = words(1500);
    const before = await answer(model, first);
    await answer(model, words(40));
    const second = [...first, ...before.ids, ...words(10)];
    const { usage, timings } = await answer(model, second);
    const computed = usage.promptTokens - usage.cachedTokens;
    expect(computed).toBeLessThanOrEqual(11);
    console.log(
      `time to first token: ${before.timings.timeToFirstToken.toFixed(0)} ms for 1,500 tokens, ${timings.timeToFirstToken.toFixed(0)} ms for the second turn, which computes ${computed} of ${usage.promptTokens}`,
    );
    expect(timings.timeToFirstToken).toBeLessThan(before.timings.timeToFirstToken / 2);
  } finally {
    model.dispose();
  }
});
