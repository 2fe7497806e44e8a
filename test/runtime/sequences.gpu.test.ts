/** Several sequences with one model: what they compute in common, what they wait for, and that none disturbs another. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  DeviceLimitError,
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
import type { DecoderConfig } from '../../src/models/layers.ts';
import { blockLimits, runnerBytes } from '../../src/runtime/generate/runner.ts';
import { type Session, unitsAtMost } from '../../src/runtime/generate/session.ts';
import { samplingParams } from '../../src/runtime/load/generation-config.ts';
import { type OpenedModel, openModel, type StartedModel, startModel } from '../../src/runtime/load/load.ts';
import { ROW_COUNTS, recordPlan } from '../../src/runtime/program/plans.ts';
import { fixtureFolders } from '../fixture-folders.ts';
import { freshSeed, seededRandom } from '../kernels/harness.ts';
import { withLongContext } from './long-context.ts';
import { gpuWith, watchBuffers } from './watched-gpu.ts';

const tiny = (name: string) => fixtureFolders('tinyModels').find((f) => f.name === name)!.source;
const small = { contextLength: 160, prefillRows: 16, precision: 'f32' } satisfies LoadOptions;
const oneByOne = { ...small, maxSequences: 1 } satisfies LoadOptions;
const everyCase = process.env.EVERY_CASE === '1';
const NUM_REQUESTS = everyCase ? 100 : 16;

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

type Started = StartedModel & { opened: OpenedModel };

async function start(options: LoadOptions): Promise<Started> {
  const opened = await openModel(tiny('tiny-qwen3'), options);
  return { ...(await startModel(opened, options)), opened };
}

/** Bytes on the GPU with every program, slot and block that there may be. */
function bytesAtMost({ info, opened: { spec, sessionOptions } }: Started): number {
  const { maxSequences } = sessionOptions;
  const limits = blockLimits(spec.config.windows, sessionOptions);
  const names = ['prefill', ...ROW_COUNTS.map((n) => `rows${n}` as const)] as const;
  const { kvBytes, activationBytes } = runnerBytes(
    names.map((name) => recordPlan(spec, sessionOptions, name)),
    sessionOptions,
    unitsAtMost(limits, maxSequences),
    info.adapter,
  );
  return info.weightBytes + kvBytes + activationBytes;
}

/** The same of a session, for tests that count what it did. */
async function sessionAnswer(
  { session, info }: Pick<StartedModel, 'session' | 'info'>,
  ids: readonly number[],
  {
    maxTokens = 8,
    signal,
    onToken,
  }: { maxTokens?: number; signal?: AbortSignal; onToken?: (count: number) => void } = {},
): Promise<number[]> {
  const found: number[] = [];
  const sampling = samplingParams({ temperature: 0, seed: 1 }, info.samplingDefaults);
  for await (const id of session.generate(ids, { sampling, maxTokens, signal, accept: () => true })) {
    found.push(id);
    onToken?.(found.length);
  }
  return found;
}

const usedBlocks = (session: Session): number[] => session.kvUsage.map(({ used }) => used);

const runs: [name: string, speculate: Speculation | undefined][] = [
  ['tiny-qwen3', undefined],
  ['tiny-deepseek-v3', 'mtp'],
  ...(everyCase ? ([['tiny-qwen3', 'lookup']] satisfies [string, Speculation][]) : []),
];

describe.each(runs)('%s, speculating with %s', (name, speculate) => {
  let model: Model;
  let alone: Model;
  beforeAll(async () => {
    const options = { ...small, maxSequences: 3, cacheTokens: 512, ...(speculate && { speculate }) };
    model = await loadModel(tiny(name), options);
    alone = await loadModel(tiny(name), oneByOne);
  });
  afterAll(() => {
    model?.dispose();
    alone?.dispose();
  });

  it('two that take turns each compute only what is new, and answer as each would alone', async () => {
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
        // What was sampled last is in no cache, nor are the 5 ids that are new.
        if (turn > 0) expect(usage.cachedTokens).toBe(before[i]! - 6);
        // The first turn of the second has what both begin with.
        else if (i > 0) expect(usage.cachedTokens).toBe(20);
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
    // All but the last id, whose logits are wanted.
    const cached = found.map(({ usage }) => usage.cachedTokens);
    expect(cached[0]).toBeLessThan(5);
    expect(cached.slice(1)).toEqual([69, 69, 69]);
  });
});

describe('requests', () => {
  let model: Model;
  let alone: Model;
  beforeAll(async () => {
    model = await loadModel(tiny('tiny-qwen3'), { ...small, maxSequences: 2, cacheTokens: 400 });
    alone = await loadModel(tiny('tiny-qwen3'), oneByOne);
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

  it('that nobody takes tokens of hold up nobody, and go on where they were', async () => {
    const slow = words(12);
    const wanted = (await answer(alone, slow, { maxTokens: 60 })).ids;
    const generation = model.generate(slow, { temperature: 0, stopTokens: [], maxTokens: 60 });
    const taken = [
      (await generation.next()).value as { id: number },
      (await generation.next()).value as { id: number },
    ];
    for (let i = 0; i < 3; i++)
      expect((await answer(model, words(20), { maxTokens: 100 })).ids).toHaveLength(100);
    for await (const token of generation) taken.push(token);
    expect(taken.map(({ id }) => id)).toEqual(wanted);
  });

  describe(`${NUM_REQUESTS} at once with random aborts`, () => {
    const system = words(18);
    const prompts = Array.from({ length: NUM_REQUESTS }, (_, i) => [
      ...(i % 3 ? system : []),
      ...words(1 + Math.floor(random() * 60)),
    ]);
    const wanted: number[][] = [];
    beforeAll(async () => {
      for (const ids of prompts) wanted.push((await answer(alone, ids)).ids);
    });

    it.each([
      [1, 160],
      [16, 400],
    ])(
      'in %i slots with a cache of %i tokens are answered as each would be alone, and leave no memory behind',
      async (maxSequences, cacheTokens) => {
        await watchBuffers(async (live) => {
          const busy = await start({ ...small, maxSequences, cacheTokens });
          const { session } = busy;
          try {
            // Slots, blocks and programs are made when they are first needed, and then there are all.
            const most = bytesAtMost(busy);
            for (let i = 0; i < 2; i++) await Promise.all(prompts.map((ids) => sessionAnswer(busy, ids)));
            const before = live.bytes;
            const found = await Promise.all(
              prompts.map(async (ids) => {
                const stopper = new AbortController();
                const kind = random();
                const last = 1 + Math.floor(random() * 7);
                if (kind < 0.3) setTimeout(() => stopper.abort(), 300 * random());
                return sessionAnswer(busy, ids, {
                  signal: stopper.signal,
                  onToken: (count) => {
                    if (kind > 0.8 && count === last) stopper.abort();
                  },
                }).then((found) => ({ found, isWhole: !stopper.signal.aborted }));
              }),
            );
            if (maxSequences < 4) expect(live.bytes).toBe(before);
            expect(live.bytes).toBeLessThanOrEqual(most);
            expect(usedBlocks(session)).toEqual([0]);
            for (const [i, { found: ids, isWhole }] of found.entries()) {
              const whole = isWhole ? wanted[i] : wanted[i]!.slice(0, ids.length);
              expect(ids, `prompt ${i}, seed ${seed}`).toEqual(whole);
            }
          } finally {
            busy.dispose();
          }
          expect(live.bytes).toBe(0);
        });
      },
    );
  });

  it('are all ended when the model is disposed of: those that run as aborted, those that wait with an error', async () => {
    const gone = await loadModel(tiny('tiny-qwen3'), { ...small, maxSequences: 2, cacheTokens: 400 });
    const asked: Promise<unknown>[] = [];
    let beside: Promise<GenerateResult> | undefined;
    const running = answer(gone, words(6), { maxTokens: 50 }, (count) => {
      if (count === 1) beside = answer(gone, words(5), { maxTokens: 50 });
      if (count === 10) {
        for (const length of [4, 5])
          asked.push(expect(answer(gone, words(length))).rejects.toThrow(ModelStateError));
      }
      if (count === 12) gone.dispose();
    });
    expect((await running).finishReason).toBe('abort');
    expect((await beside!).finishReason).toBe('abort');
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
    const gone = await loadModel(tiny('tiny-qwen3'), { ...small, maxSequences: 2, cacheTokens: 400 }).finally(
      () => {
        GPUDevice.prototype.createBuffer = createBuffer;
      },
    );
    const others: Promise<unknown>[] = [];
    const running = answer(gone, words(6), { maxTokens: 50 }, (count) => {
      if (count !== 2) return;
      for (const length of [4, 5, 6]) {
        others.push(expect(answer(gone, words(length))).rejects.toThrow(DeviceLostError));
      }
      device!.destroy();
    });
    await expect(running).rejects.toThrow(DeviceLostError);
    await Promise.all(others);
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

it('a prompt of 2,000 tokens that 16 requests begin with is computed once', async () => {
  const model = await loadModel(tiny('tiny-qwen3'), {
    contextLength: 2100,
    maxSequences: 16,
    cacheTokens: 8192,
  });
  try {
    const system = words(2000);
    const asked = Array.from({ length: 16 }, () =>
      answer(model, [...system, ...words(20)], { maxTokens: 4 }),
    );
    const usages = (await Promise.all(asked)).map(({ usage }) => usage);
    const computed = usages.reduce((sum, u) => sum + u.promptTokens - u.cachedTokens, 0);
    expect(computed).toBeLessThanOrEqual(2000 + 16 * 20);
  } finally {
    model.dispose();
  }
});

describe('blocks of the cache', () => {
  it('are given back whenever a sequence is aborted: while it waits, in its prompt, in its answer', async () => {
    const model = await start({ ...small, maxSequences: 2, cacheTokens: 400 });
    const { session } = model;
    const run = (length: number, maxTokens: number, abortAt?: (session: Session) => boolean) => {
      const stopper = new AbortController();
      const timer = setInterval(() => {
        if (abortAt?.(session)) stopper.abort();
      });
      return sessionAnswer(model, words(length), { maxTokens, signal: stopper.signal }).finally(() =>
        clearInterval(timer),
      );
    };
    try {
      const chunks = (): number => session.counts.chunks;
      const before = chunks();
      // In its prompt: a few of ten chunks are computed.
      expect(await run(150, 8, () => chunks() > before + 1)).toEqual([]);
      expect(chunks() - before).toBeLessThan(10);
      expect(usedBlocks(session)).toEqual([0]);
      // In its answer.
      const { length } = await run(20, 130, ({ counts }) => counts.readbacks > 5);
      expect(length).toBeLessThan(130);
      expect(usedBlocks(session)).toEqual([0]);
      // While it waits for a slot.
      const others = [run(10, 30), run(11, 30)];
      expect(await run(150, 8, () => true)).toEqual([]);
      expect((await Promise.all(others)).map(({ length }) => length)).toEqual([30, 30]);
      expect(usedBlocks(session)).toEqual([0]);
      expect(session.kvUsage[0]!.idle).toBeGreaterThan(0);
    } finally {
      model.dispose();
    }
  });

  it('that all sequences need together may be fewer than they want: some are put back, and answer the same', async () => {
    const tight = await start({ ...small, contextLength: 240, maxSequences: 4, cacheTokens: 240 });
    const wide = await start({ ...small, contextLength: 240, maxSequences: 1 });
    try {
      const prompts = [60, 50, 61, 40].map((length) => words(length));
      const wanted: number[][] = [];
      for (const ids of prompts) wanted.push(await sessionAnswer(wide, ids, { maxTokens: 100 }));
      const found = await Promise.all(prompts.map((ids) => sessionAnswer(tight, ids, { maxTokens: 100 })));
      expect(found, `seed ${seed}`).toEqual(wanted);
      expect(tight.session.counts.putBack).toBeGreaterThan(0);
      expect(usedBlocks(tight.session)).toEqual([0]);
    } finally {
      tight.dispose();
      wide.dispose();
    }
  });

  it('that nobody uses are made before others are given away, also where a sequence begins in the middle of one', async () => {
    const model = await start({ ...small, contextLength: 320, maxSequences: 1, cacheTokens: 64 * 40 });
    try {
      const { session } = model;
      const first = words(250);
      await sessionAnswer(model, first, { maxTokens: 1 });
      await sessionAnswer(model, words(250), { maxTokens: 1 });
      // Until no block is free.
      for (let i = 0; i < 9 && session.kvUsage[0]!.idle < session.kvUsage[0]!.capacity; i++) {
        await sessionAnswer(model, words(50), { maxTokens: 1 });
      }
      expect(session.kvUsage[0]!.idle).toBe(session.kvUsage[0]!.capacity);
      expect(
        await sessionAnswer(model, [...first.slice(0, 240), ...words(5)], { maxTokens: 4 }),
      ).toHaveLength(4);
    } finally {
      model.dispose();
    }
  });

  it('of layers that see a window do not grow in number with the length of a sequence', async () => {
    const { source } = fixtureFolders('goldens').find(({ name }) => name === 'qwen2-swa')!;
    const options = { ...small, contextLength: 640, maxSequences: 1 } satisfies LoadOptions;
    const model = await startModel(await openModel(source, options), options);
    try {
      const { session } = model;
      const held: number[][] = [];
      const timer = setInterval(() => held.push(usedBlocks(session)));
      const ids = Array.from({ length: 520 }, () => Math.floor(random() * 250));
      await sessionAnswer(model, ids, {
        maxTokens: 110,
        onToken: () => held.push(usedBlocks(session)),
      }).finally(() => clearInterval(timer));
      // A window of 48 and a chunk of 16 are two blocks, and two more may be cut by their ends.
      expect(Math.max(...held.map(([, window]) => window!))).toBeLessThanOrEqual(3);
      expect(Math.max(...held.map(([all]) => all!))).toBe(10);
      expect(session.kvUsage[1]!.limit).toBeLessThanOrEqual(3);
      expect(usedBlocks(session)).toEqual([0, 0]);
    } finally {
      model.dispose();
    }
  });
});

describe('memory', () => {
  const MiB = 2 ** 20;

  it.each([
    ['f16', 2],
    ['int8', 1 + 4 / 32], // a scale for each head of 32
  ] as const)(
    'of 512 tokens in a context of 32k is at most what 1,024 take, in %s',
    async (kvFormat, bytesOfValue) => {
      const caches = new Map<GPUBuffer, number>();
      const { createBuffer } = GPUDevice.prototype;
      GPUDevice.prototype.createBuffer = function (this: GPUDevice, descriptor) {
        const buffer = createBuffer.call(this, descriptor);
        if (descriptor.label?.startsWith('kv.')) {
          caches.set(buffer, descriptor.size);
          const { destroy } = buffer;
          buffer.destroy = () => {
            caches.delete(buffer);
            return destroy.call(buffer);
          };
        }
        return buffer;
      };
      const options = { contextLength: 32768, kvFormat, maxSequences: 1 } satisfies LoadOptions;
      let model: StartedModel | undefined;
      try {
        const opened = await openModel(withLongContext(tiny('tiny-qwen3'), 32768), options);
        model = await startModel(opened, options);
        await sessionAnswer(model, words(480), { maxTokens: 32 });
        const bytes = [...caches.values()].reduce((a, b) => a + b, 0);
        const { numHiddenLayers, numKeyValueHeads, headDim } = opened.spec.config as DecoderConfig;
        const tokens = bytes / (2 * numHiddenLayers * numKeyValueHeads * headDim * bytesOfValue);
        console.info(`KV cache of 512 tokens, ${kvFormat}: ${bytes} bytes, those of ${tokens} tokens`);
        expect(tokens).toBeGreaterThanOrEqual(512);
        expect(tokens).toBeLessThanOrEqual(1024);
      } finally {
        GPUDevice.prototype.createBuffer = createBuffer;
        model?.dispose();
      }
    },
  );
  const ask = (model: StartedModel, lengths: readonly number[]): Promise<number[][]> =>
    Promise.all(
      lengths.map((length, i) => sessionAnswer(model, Array(length).fill(30 + i), { maxTokens: 6 })),
    );

  it('that is gone when sequences begin makes fewer run side by side, and changes no answer', async () => {
    let memoryBytes = 512 * MiB;
    await watchBuffers(async (live) => {
      const options = {
        ...small,
        maxSequences: 3,
        cacheTokens: 1024,
        gpu: gpuWith(() => memoryBytes),
      } satisfies LoadOptions;
      const lengths = [100, 110, 90, 120, 130];
      const rich = await start(options);
      const wanted = await ask(rich, lengths);
      rich.dispose();
      expect(live.bytes).toBe(0);

      const poor = await start(options);
      const atFirst = live.bytes;
      memoryBytes = atFirst;
      expect(await ask(poor, lengths)).toEqual(wanted);
      // Programs for more rows are checked and tried to be made, and give back what they got.
      await vi.waitFor(() => expect(live.bytes).toBe(atFirst), 60_000);
      expect(await ask(poor, lengths)).toEqual(wanted);
      poor.dispose();
      expect(live.bytes).toBe(0);
    });
  });

  it('that one sequence needs alone and that is not there is an error of its own', async () => {
    let memoryBytes = 512 * MiB;
    const options = {
      ...small,
      contextLength: 640,
      maxSequences: 3,
      gpu: gpuWith(() => memoryBytes),
    } satisfies LoadOptions;
    await watchBuffers(async (live) => {
      const model = await start(options);
      memoryBytes = live.bytes;
      const [long, short] = await Promise.allSettled([
        sessionAnswer(model, words(500)),
        sessionAnswer(model, words(50)),
      ]);
      expect(long).toMatchObject({ status: 'rejected', reason: expect.any(DeviceLimitError) });
      expect(short).toMatchObject({ status: 'fulfilled', value: { length: 8 } });
      // One that grows beyond it has what there was room for.
      const told: number[] = [];
      await expect(
        sessionAnswer(model, words(200), { maxTokens: 200, onToken: (count) => told.push(count) }),
      ).rejects.toThrow(DeviceLimitError);
      expect(told.length).toBeGreaterThan(40);
      expect(await sessionAnswer(model, words(60))).toHaveLength(8);
      expect(usedBlocks(model.session)).toEqual([0]);
      model.dispose();
    });
  });

  it.each([{ maxSequences: 0 }, { maxSequences: 1.5 }, { cacheTokens: -1 }, { kvFormat: 'f8' as 'f16' }])(
    'is not promised for %o',
    async (options) => {
      await expect(loadModel(tiny('tiny-qwen3'), options)).rejects.toThrow(InvalidInputError);
    },
  );
});

it('the second turn of 1,500 tokens computes only what is new', async () => {
  const model = await loadModel(tiny('tiny-qwen3'), { contextLength: 1600, cacheTokens: 4096 });
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
  } finally {
    model.dispose();
  }
});
