/** Plans of every family as text: an accidental extra dispatch shows in review. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { printPlan } from '../../src/graph/print.ts';
import { estimate } from '../../src/runtime/load/estimate.ts';
import { uniformResolver } from '../../src/weights/resolve.ts';

const read = (path: string): Record<string, unknown> =>
  JSON.parse(readFileSync(new URL(`../fixtures/${path}/config.json`, import.meta.url), 'utf8'));
const options = { capacity: 256, kvFormat: 'f16', prefillRows: 64, maxBindingBytes: 2 ** 31 } as const;
const plan = (json: Record<string, unknown>, more = {}) =>
  estimate(json, uniformResolver('bf16'), { ...options, ...more });

describe.each([
  'goldens/qwen2',
  'goldens/qwen3-dense',
  'goldens/qwen3-dense-untied-yarn',
  'goldens/mistral',
  'goldens/granite',
  'goldens/phi3',
])('%s', (path) => {
  it('decodes as planned', () => {
    expect(printPlan(plan(read(path)).decode)).toMatchSnapshot();
  });
  it('prefills as planned', () => {
    expect(printPlan(plan(read(path)).prefill)).toMatchSnapshot();
  });
  it('needs at most 7 dispatches a layer and 4 besides to decode a token', () => {
    const { dispatchesPerLayer, dispatchesOutsideLayers } = plan(read(path)).estimate;
    expect(dispatchesPerLayer).toBeLessThanOrEqual(7);
    expect(dispatchesOutsideLayers).toBeLessThanOrEqual(4);
  });
});

describe.each([
  'goldens/qwen3-moe',
  'goldens/qwen2-moe',
  'goldens/deepseek-v3',
  'goldens/deepseek-v3-noqlora',
])('%s', (path) => {
  it('decodes as planned', () => {
    expect(printPlan(plan(read(path)).decode)).toMatchSnapshot();
  });
  it('prefills as planned', () => {
    expect(printPlan(plan(read(path)).prefill)).toMatchSnapshot();
  });
});

describe('dispatches of a decoded token', () => {
  it('are at most 9 in a layer of grouped-query attention and experts', () => {
    expect(plan(read('goldens/qwen3-moe')).estimate.dispatchesPerLayer).toBe(9);
  });
  it('are at most 9 in a layer of latent attention and a dense MLP', () => {
    const dense = { ...read('goldens/deepseek-v3'), first_k_dense_replace: 3 };
    expect(plan(dense).estimate.dispatchesPerLayer).toBe(9);
  });
  it('are 7 of latent attention and 6 of experts beside a shared one', () => {
    const { dispatchesPerAttention, dispatchesPerMlp } = plan(read('goldens/deepseek-v3')).estimate;
    expect([dispatchesPerAttention, dispatchesPerMlp]).toEqual([7, 6]);
  });
});

describe('models at their published size', () => {
  /** Parameters, those that a token meets (of the embedding one row), and values in the cache per token, from the published configs. */
  it.each([
    ['qwen3-1.7b', 1_720_574_976, 1_720_577_024, 28 * 2 * 8 * 128],
    ['qwen3-4b', 4_022_468_096, 4_022_470_656, 36 * 2 * 8 * 128],
    ['qwen3-4b-2507', 4_022_468_096, 4_022_470_656, 36 * 2 * 8 * 128],
    ['qwen3-14b', 14_768_307_200, 13_990_400_000, 40 * 2 * 8 * 128],
    ['qwen3-32b', 32_762_123_264, 31_984_216_064, 64 * 2 * 8 * 128],
    ['qwen3-30b-a3b', 30_532_122_624, 3_041_869_824, 48 * 2 * 4 * 128],
    ['qwen3-30b-a3b-2507', 30_532_122_624, 3_041_869_824, 48 * 2 * 4 * 128],
    ['qwen3-235b-a22b', 235_093_634_560, 21_568_437_760, 94 * 2 * 4 * 128],
    ['qwen3-235b-a22b-2507', 235_093_634_560, 21_568_437_760, 94 * 2 * 4 * 128],
    ['qwen1.5-moe-a2.7b', 14_315_784_192, 2_378_010_624, 24 * 2 * 16 * 128],
    ['deepseek-v3', 671_026_419_200, 36_625_625_600, 61 * (512 + 64)],
    ['kimi-k2', 1_026_408_232_448, 31_687_102_976, 61 * (512 + 64)],
    ['moonlight-16b-a3b', 15_960_110_208, 2_579_233_920, 27 * (512 + 64)],
  ])(
    '%s has the parameters, the active ones and the cache that its authors name',
    (name, all, active, kv) => {
      const { estimate: e, decode } = plan(read(`configs/${name}`));
      // Vectors are f32 on the GPU, everything else is in bf16.
      const vectors = [...decode.graph.weights.values()].filter((w) => w.isVector);
      const inVectors = vectors.reduce((sum, w) => sum + w.cols, 0);
      expect((e.weightBytesByFormat.bf16 ?? 0) / 2 + inVectors).toBe(all);
      // A norm that several ops fold in is read by each of them.
      expect(e.activeWeightBytesPerToken / 2 / active).toBeCloseTo(1, 3);
      expect(e.kvBytesPerToken).toBe(2 * kv);
    },
  );

  it('Qwen3-0.6B: weights, cache and dispatches are those of its config', () => {
    const e = plan(read('configs/qwen3-0.6b')).estimate;
    // 596,049,920 parameters in bf16; the norms' 65,536 values are f32 on the GPU.
    expect(e.weightBytes).toBe(596_049_920 * 2 + 65_536 * 2);
    expect(e.kvBytesPerToken).toBe(28 * 2 * 8 * 128 * 2);
    expect(e.dispatchesPerToken).toBe(28 * 7 + 4);
  });
  it('Qwen3-8B: an untied head is read once per token, the embedding only one row', () => {
    const e = plan(read('configs/qwen3-8b')).estimate;
    expect(e.weightBytes - e.activeWeightBytesPerToken).toBe((151_936 - 1) * 4096 * 2);
  });
  it('DeepSeek-V3 as published, in fp8: a byte a weight and a scale for every 128 of a row', () => {
    const e = estimate(read('configs/deepseek-v3'), uniformResolver('fp8'), options).estimate;
    const inBf16 = 2 * 129_280 * 7168 + 58 * 256 * 7168;
    expect(e.weightBytesByFormat.bf16).toBe(2 * inBf16);
    const inVectors = 61 * (2 * 7168 + 1536 + 512) + 58 * 256 + 7168;
    const inFp8 = 671_026_419_200 - inBf16 - inVectors;
    expect(e.weightBytesByFormat.fp8).toBe(inFp8 + inFp8 / 32);
    expect(e.kvBytesPerToken).toBe(61 * 576 * 2);
  });
  it('splits a weight that is larger than a binding over more dispatches', () => {
    const whole = plan(read('configs/qwen3-0.6b')).estimate;
    const split = plan(read('configs/qwen3-0.6b'), { maxBindingBytes: 128 * 2 ** 20 }).estimate;
    // The tied embedding takes 297 MiB: 3 parts for the embedding and 3 for the head.
    expect(split.dispatchesOutsideLayers).toBe(whole.dispatchesOutsideLayers + 4);
    expect(split.dispatchesPerLayer).toBe(whole.dispatchesPerLayer);
  });
});
