/** What was said of a model beside what loading it allocates, and devices that have too little memory. */
import { describe, expect, it, vi } from 'vitest';
import { DeviceLimitError } from '../../src/errors.ts';
import { probeMemory } from '../../src/gpu/buffers.ts';
import { openDevice } from '../../src/gpu/device.ts';
import type { SessionRole } from '../../src/graph/graph.ts';
import type { Plan } from '../../src/graph/plan.ts';
import { checkFit, type Fit, type LoadOptions, loadModel } from '../../src/index.ts';
import { blockLimits, runnerBytes } from '../../src/runtime/generate/runner.ts';
import { unitsAtFirst, unitsAtMost } from '../../src/runtime/generate/session.ts';
import { filesOf } from '../../src/runtime/load/check-fit.ts';
import { everyPlan, everyWeight, findFit } from '../../src/runtime/load/fit.ts';
import { samplingParams } from '../../src/runtime/load/generation-config.ts';
import { openModel, startModel } from '../../src/runtime/load/load.ts';
import { type ProgramName, recordPlan } from '../../src/runtime/program/plans.ts';
import { uploadWeights } from '../../src/weights/upload.ts';
import { fixtureFolders } from '../fixture-folders.ts';
import { gpuWith, watchBuffers } from './watched-gpu.ts';

const MiB = 2 ** 20;
const tiny = (name: string) => fixtureFolders('tinyModels').find((f) => f.name === name)!.source;

describe('what a model was said to need', () => {
  it.each<[string, LoadOptions]>([
    ['tiny-qwen3', {}],
    [
      'tiny-qwen3',
      { weights: 'int8', contextLength: 100, precision: 'f32', kvFormat: 'int8', maxSequences: 1 },
    ],
    ['tiny-qwen3', { contextLength: 300, cacheTokens: 700, maxSequences: 2 }],
    ['tiny-qwen3-moe', { weights: 'int4', contextLength: 300, maxSequences: 1 }],
    [
      'tiny-deepseek-v3',
      { weights: 'auto', speculate: 'mtp', prefillRows: 32, contextLength: 300, maxSequences: 1 },
    ],
  ])('is what loading %s with %o allocates, and what it takes when it has grown', async (name, options) => {
    const source = tiny(name);
    const { files, ...asked } = await checkFit(source, options);
    await watchBuffers(async (live) => {
      const fits: Fit[] = [];
      let totalBytes = 0;
      const all: LoadOptions = {
        ...options,
        onFit: (fit) => fits.push(fit),
        onProgress: (progress) => {
          totalBytes = progress.totalBytes;
        },
      };
      const opened = await openModel(source, all);
      const { info, session, dispose } = await startModel(opened, all);
      const { spec, plans, sessionOptions } = opened;
      const limits = blockLimits(spec.config.windows, sessionOptions);
      const gpu = await openDevice();
      const { isFallback } = gpu.info;
      gpu.dispose();
      const bytesOf = (plans: readonly Plan[], unitsOf: (role: SessionRole) => number): number => {
        const { kvBytes, activationBytes } = runnerBytes(plans, sessionOptions, unitsOf, { isFallback });
        return info.weightBytes + kvBytes + activationBytes;
      };
      try {
        expect(fits).toEqual([asked]);
        const { needed, best } = asked;
        expect(asked.fits).toBe(true);
        const { cacheTokens } = options;
        expect(best).toEqual({
          weights: info.weights,
          contextLength: info.contextLength,
          ...(cacheTokens && { cacheTokens }),
        });
        expect(info.weights).toBe(
          options.weights === 'auto' ? 'published' : (options.weights ?? 'published'),
        );
        expect(needed.weightBytes).toBe(info.weightBytes);
        expect(needed.kvBytes).toBe(info.kvBytes);
        expect(needed.activationBytes).toBeGreaterThanOrEqual(info.activationBytes);
        expect(files.downloadBytes).toBe(totalBytes);
        expect(live.bytes).toBe(bytesOf(everyPlan(plans), unitsAtFirst(limits)));
        expect(live.bytes).toBeLessThanOrEqual(needed.gpuBytes - needed.stagingBytes);
        expect(live.peak).toBeLessThanOrEqual(needed.gpuBytes);
        if (options.contextLength === undefined) return;
        // Prompts that have nothing in common, until there are all blocks, in all slots.
        const maxSequences = options.maxSequences!;
        const sampling = samplingParams({ temperature: 0, seed: 1 }, info.samplingDefaults);
        for (let begin = 0; session.kvUsage.some(({ capacity, limit }) => capacity < limit); begin++) {
          expect(begin).toBeLessThan(10);
          await Promise.all(
            Array.from({ length: maxSequences }, async (_, slot) => {
              const ids = Array(info.contextLength - 8).fill(20 + maxSequences * begin + slot);
              const ignore = { sampling, maxTokens: 8, accept: () => true };
              for await (const _ of session.generate(ids, ignore));
            }),
          );
        }
        expect(session.kvUsage.map(({ capacity }) => capacity)).toEqual(limits);
        const made = Object.keys(session.counts.passes).filter((name) => !(name in plans)) as ProgramName[];
        const more = made.map((name) => recordPlan(spec, sessionOptions, name));
        const grown = bytesOf([...everyPlan(plans), ...more], unitsAtMost(limits, maxSequences));
        const most = needed.gpuBytes - needed.stagingBytes;
        // One sequence needs no programs but those that are loaded; for several another may be in the making.
        if (maxSequences === 1) expect([live.bytes, live.bytes]).toEqual([grown, most]);
        else expect(live.bytes).toBeGreaterThanOrEqual(grown);
        await vi.waitFor(() => expect(live.bytes).toBeLessThanOrEqual(most), 10_000);
      } finally {
        dispose();
      }
      expect(live.bytes).toBe(0);
    });
  });

  it('is what the weights of every published format take, converted or not', async () => {
    const gpu = await openDevice();
    try {
      const everyFolder = [...fixtureFolders('tinyModels'), ...fixtureFolders('goldens')];
      for (const { name, source } of everyFolder.filter(({ files }) => files.includes('config.json'))) {
        for (const weights of ['published', 'int8', 'int4'] as const) {
          const opened = await openModel(source, { weights, contextLength: 64, prefillRows: 8 });
          // Limits below which the embedding of the largest is split into parts.
          const { needed } = findFit(opened, { bindingBytes: MiB, memoryBytes: undefined, info: gpu.info });
          let totalBytes = 0;
          const before = gpu.buffers.memory.bytes;
          const uploaded = await uploadWeights(gpu, opened.checkpoint, everyWeight(opened.plans), {
            onProgress: (progress) => {
              totalBytes = progress.totalBytes;
            },
          });
          const about = `${name} as ${weights}`;
          expect(needed.weightBytes, about).toBe(uploaded.bytes);
          expect(needed.weightBytes, about).toBe(gpu.buffers.memory.bytes - before);
          expect(filesOf(opened).downloadBytes, about).toBe(totalBytes);
          uploaded.dispose();
        }
      }
    } finally {
      gpu.dispose();
    }
  });
});

describe('asking a device for memory', () => {
  it('gives all of it back, and is told how much there was', async () => {
    await watchBuffers(async (live) => {
      const gpu = await openDevice();
      expect(await probeMemory(gpu.device, 300 * MiB + 5)).toBe(300 * MiB + 5);
      expect([live.peak >= 300 * MiB, live.bytes]).toEqual([true, 0]);
      gpu.dispose();
      const little = await openDevice({ gpu: gpuWith(200 * MiB) });
      const given = await probeMemory(little.device, 2 ** 30);
      expect(given).toBeGreaterThan(180 * MiB);
      expect(given).toBeLessThanOrEqual(200 * MiB);
      expect(live.bytes).toBe(0);
      little.throwIfFaulty();
      little.dispose();
    });
  });

  it('can be aborted, and gives back what it had', async () => {
    await watchBuffers(async (live) => {
      const gpu = await openDevice();
      const stopper = new AbortController();
      const asking = probeMemory(gpu.device, 2 ** 31, stopper.signal);
      stopper.abort();
      await expect(asking).rejects.toThrow(/abort/i);
      expect(live.bytes).toBe(0);
      gpu.dispose();
    });
  });
});

describe('a device with too little memory', () => {
  /** Room for tiny-qwen3 in int8 and not as published. */
  const roomForInt8 = async (): Promise<number> => {
    const [published, int8] = await Promise.all(
      (['published', 'int8'] as const).map(async (weights) => {
        const space = { bindingBytes: 2 ** 27, memoryBytes: undefined, info: { isFallback: false } };
        return findFit(await openModel(tiny('tiny-qwen3'), { weights, contextLength: 256 }), space).needed;
      }),
    );
    return Math.floor((published!.gpuBytes + int8!.gpuBytes) / 2);
  };

  it("is found out before anything is downloaded, and told what fits: weights: 'auto' takes that", async () => {
    const memoryBytes = await roomForInt8();
    // All of it comes in one piece, so that nothing is lost by rounding.
    const gpu = gpuWith(memoryBytes);
    const source = { ...tiny('tiny-qwen3'), label: 'watched', numStreams: 0 };
    const { stream } = source;
    source.stream = (...args) => {
      source.numStreams++;
      return stream(...args);
    };
    await watchBuffers(async (live) => {
      const seen: Fit[] = [];
      const options = { contextLength: 256, gpu, onFit: (fit: Fit) => seen.push(fit) };
      const loading = loadModel(source, { ...options, memoryBytes });
      await expect(loading).rejects.toThrow(DeviceLimitError);
      await expect(loading).rejects.toThrow(
        /Qwen3ForCausalLM does not fit this GPU as published: it needs 6\d\.\d MiB .* Load it with weights: 'int8', contextLength: 256\./,
      );
      expect(seen.map(({ fits, best }) => [fits, best?.weights])).toEqual([[false, 'int8']]);
      expect([source.numStreams, live.bytes]).toEqual([0, 0]);

      const model = await loadModel(source, { ...options, memoryBytes, weights: 'auto' });
      expect(model.info.weights).toBe('int8');
      expect(model.info.conversionErrors.length).toBeGreaterThan(0);
      expect(seen.at(-1)?.available).toMatchObject({
        memoryBytes,
        probedBytes: seen.at(-1)?.needed.gpuBytes,
      });
      model.dispose();
      expect(live.bytes).toBe(0);
    });
  });

  it('is found out by asking where nobody says how much there is', async () => {
    const gpu = gpuWith(100 * MiB);
    const options = { weights: 'auto', contextLength: 2048, gpu } satisfies LoadOptions;
    // 48 of its 64 MiB for loading are not there.
    const small = await checkFit(tiny('tiny-qwen3'), { ...options, gpu: gpuWith(16 * MiB) });
    expect(small).toMatchObject({ fits: false, best: undefined });
    expect(small.available.probedBytes).toBeLessThanOrEqual(16 * MiB);
    expect(await checkFit(tiny('tiny-qwen3'), options)).toMatchObject({ fits: true });
    const { best, reasons } = await checkFit(tiny('tiny-qwen3'), { ...options, memoryBytes: 68 * MiB });
    expect(reasons.join()).toMatch(/there are 68\.0 MiB/);
    expect(best?.weights).toBe('int4');
    expect(best?.contextLength).toBeLessThan(2048);
    await expect(loadModel(tiny('tiny-qwen3'), { ...options, gpu: gpuWith(16 * MiB) })).rejects.toThrow(
      /in any format: .*No format and context of it would/,
    );
  });

  it('software adapters are not asked', async () => {
    const gpu = await openDevice();
    const { isFallback } = gpu.info;
    gpu.dispose();
    const { available } = await checkFit(tiny('tiny-qwen3'));
    expect(available.probedBytes === undefined).toBe(isFallback);
  });
});
