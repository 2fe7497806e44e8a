/** What is said of a model before anything of its weights is downloaded, on devices that are nothing but numbers. */
import { describe, expect, it } from 'vitest';
import { InvalidInputError } from '../../src/errors.ts';
import { folder } from '../../src/node.ts';
import { filesOf } from '../../src/runtime/load/check-fit.ts';
import { findFit, fitError } from '../../src/runtime/load/fit.ts';
import { type OpenedModel, openModel } from '../../src/runtime/load/load.ts';
import type { LoadOptions } from '../../src/runtime/types.ts';
import { freshSeed, seededRandom } from '../kernels/harness.ts';
import { numCases } from '../num-cases.ts';
import { headerOnly } from './header-only.ts';

const GiB = 2 ** 30;
const PARAMETERS_8B = 8_190_735_360;
const qwen8b = headerOnly('qwen3-8b');
const open = (options: LoadOptions = {}): Promise<OpenedModel> => openModel(qwen8b.source, options);
const space = (memoryBytes?: number, bindingBytes = 2 * GiB) => ({
  memoryBytes,
  bindingBytes,
  info: { isFallback: false },
});

/** Positions of the cache of so many tokens: whole blocks, and one in which what was found goes on. */
const positions = (tokens: number): number => 64 * (Math.ceil(tokens / 64) + 1);

describe('what a model needs', () => {
  it('is what its headers and its config say: Qwen3-8B', async () => {
    const opened = await open();
    const { fits, best, needed } = findFit(opened, space());
    const files = filesOf(opened);
    expect(fits).toBe(true);
    expect(best).toEqual({ weights: 'published', contextLength: 4096 });
    expect(files.downloadBytes).toBe(2 * PARAMETERS_8B);
    expect(qwen8b.tensorBytes).toBe(2 * PARAMETERS_8B);
    expect(files.storeBytes).toBe(qwen8b.fileBytes + 16 * 2 ** 20);
    // Norms are f32 on the GPU: of the layers, of their q and k, and the last.
    expect(needed.weightBytes).toBe(2 * PARAMETERS_8B + 2 * (36 * (2 * 4096 + 2 * 128) + 4096));
    expect(needed.kvBytes).toBe(positions(4096) * 36 * 2 * 8 * 128 * 2);
    expect(needed.gpuBytes).toBe(needed.weightBytes + needed.kvBytes + needed.activationBytes + 64 * 2 ** 20);
  });

  it('is a word for 32 weights more than 4 bits with int4, and for 64 more than 8 with int8', async () => {
    const [int8, int4] = await Promise.all(
      (['int8', 'int4'] as const).map(async (weights) => findFit(await open({ weights }), space()).needed),
    );
    const vectors = 4 * (36 * (2 * 4096 + 2 * 128) + 4096);
    const matrices = PARAMETERS_8B - vectors / 4;
    const ends = 2 * 151_936 * 4096; // embedding and head
    expect(int8!.weightBytes).toBe((matrices * (8 + 32 / 64)) / 8 + vectors);
    expect(int4!.weightBytes).toBe((ends * 8.5 + (matrices - ends) * 5) / 8 + vectors);
    expect(filesOf(await open({ weights: 'int4' })).downloadBytes).toBe(2 * PARAMETERS_8B);
  });

  it('does not ask for weights of a module that nobody uses', async () => {
    const source = folder(new URL('../../examples/models/tiny-deepseek-v3', import.meta.url).pathname);
    const [without, drafting] = await Promise.all(
      ([undefined, 'mtp'] as const).map(async (speculate) => filesOf(await openModel(source, { speculate }))),
    );
    expect(without!.downloadBytes).toBeLessThan(drafting!.downloadBytes);
    expect(without!.storeBytes).toBe(drafting!.storeBytes);
  });
});

describe('the best that fits', () => {
  it.each([
    ['published', 17],
    ['int8', 10],
    ['int4', 7],
  ] as const)('is %s with %i GiB for Qwen3-8B', async (weights, gibibytes) => {
    const asked = findFit(await open(), space(gibibytes * GiB));
    expect(asked.best).toEqual({ weights, contextLength: 4096 });
    expect(asked.fits).toBe(weights === 'published');
    expect(asked.reasons.length).toBe(weights === 'published' ? 0 : 1);
    const auto = findFit(await open({ weights: 'auto' }), space(gibibytes * GiB));
    expect(auto.fits).toBe(true);
    expect(auto.chosen).toBe(weights);
    expect(auto.needed.gpuBytes).toBe(auto.bestBytes);
  });

  it('has a shorter context when no format holds the one asked for', async () => {
    const opened = await open({ contextLength: 40_960 });
    const { fits, best, bestBytes, needed } = findFit(opened, space(7 * GiB));
    expect(fits).toBe(false);
    expect(needed.kvBytes).toBe(positions(40_960) * 36 * 2 * 8 * 128 * 2);
    expect(best?.weights).toBe('int4');
    expect(best?.contextLength).toBeGreaterThan(4096);
    expect(best?.contextLength).toBeLessThan(40_960);
    expect(bestBytes).toBeLessThanOrEqual(7 * GiB);
    const again = await open({ contextLength: best!.contextLength, weights: 'int4' });
    expect(findFit(again, space(7 * GiB)).fits).toBe(true);
  });

  it('is nothing where not even a short context of the smallest format fits', async () => {
    const opened = await open({ weights: 'auto' });
    const answer = findFit(opened, space(2 * GiB));
    expect([answer.fits, answer.best]).toEqual([false, undefined]);
    expect(fitError('Qwen3', opened, answer).message).toMatch(
      /Qwen3 does not fit this GPU in any format: it needs 15\.\d+ GiB .*and there are 2\.00 GiB\. No format/,
    );
  });

  it('is what then fits, whatever the memory, the format and the context asked for', async () => {
    const seed = freshSeed();
    const random = seededRandom(seed);
    const pick = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)]!;
    const small = headerOnly('qwen3-0.6b').source;
    for (let i = 0; i < numCases(12); i++) {
      const contextLength = 1 + Math.floor(random() * 40_960);
      const weights = pick(['published', 'auto', 'bf16', 'int8', 'int4'] as const);
      const bindingBytes = pick([2 ** 27, 2 ** 25, 2 ** 31]);
      const there = space((0.3 + 3 * random()) * GiB, bindingBytes);
      const times = pick([1, 2, 5]);
      const maxSequences = pick([1, 5, 16]);
      const cacheTokens = times * contextLength;
      const opened = await openModel(small, { contextLength, weights, cacheTokens, maxSequences });
      const { best, bestBytes, fits } = findFit(opened, there);
      const about = `seed ${seed}, case ${i}: ${weights}, ${maxSequences} slots, ${times} times ${contextLength} tokens, ${JSON.stringify(there)}`;
      if (fits) expect(best?.contextLength, about).toBe(contextLength);
      if (!best) continue;
      expect(bestBytes, about).toBeLessThanOrEqual(there.memoryBytes!);
      expect(best.contextLength, about).toBeLessThanOrEqual(contextLength);
      const again = await openModel(small, {
        ...best,
        maxSequences,
        cacheTokens: times * best.contextLength,
      });
      expect(findFit(again, there), about).toMatchObject({ fits: true, best });
    }
  });

  it('leaves checkpoints that are quantised as they are', async () => {
    const source = folder(new URL('../fixtures/goldens/qwen3-gptq-int4', import.meta.url).pathname);
    const opened = await openModel(source, { weights: 'auto', contextLength: 64 });
    const { needed, best } = findFit(opened, space());
    expect(best?.weights).toBe('published');
    const less = findFit(opened, space(needed.gpuBytes - 1));
    // Its embeddings are in bf16; that is all there is to gain.
    expect(less.best === undefined || less.best.weights === 'int8').toBe(true);
  });
});

describe('limits of a device', () => {
  it('a KV cache must fit a binding', async () => {
    const opened = await open({ contextLength: 40_960 });
    const { fits, best, reasons } = findFit(opened, space(undefined, 64 * 2 ** 20));
    expect(fits).toBe(false);
    expect(reasons.join()).toMatch(/cache of 40960 tokens takes 80\.1 MiB a layer.* at most 64\.0 MiB/);
    expect(best?.contextLength).toBe(32_768 - 64);
    expect(positions(best!.contextLength)).toBe(32_768);
  });

  it('an expert that no binding holds is told, and the format in which one does', async () => {
    const moe = await openModel(headerOnly('qwen1.5-moe-a2.7b').source, {
      contextLength: 256,
      prefillRows: 16,
      // What the sampler keeps for many would not fit so small a binding either.
      maxSequences: 1,
    });
    // Gate and up of an expert: 2 * 1408 rows of 2048 values.
    const rows = 2 * 1408 * 2048;
    const { reasons, best } = findFit(moe, space(undefined, rows));
    expect(reasons.join()).toMatch(/experts.*2816 rows of 4096 bytes/);
    expect(best).toEqual({ weights: 'int8', contextLength: 256 });
    expect(findFit(moe, space(undefined, rows / 4)).best).toBeUndefined();
  });
});

it('refuses options that mean nothing', async () => {
  await expect(open({ weights: 'int3' as 'int4' })).rejects.toThrow(/auto, published, int4/);
  await expect(open({ memoryBytes: -1 })).rejects.toThrow(InvalidInputError);
});
