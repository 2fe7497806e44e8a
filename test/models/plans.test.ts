/** Plans of every family as text: an accidental extra dispatch shows in review. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { estimate } from '../../src/engine/estimate.ts';
import { printPlan } from '../../src/graph/print.ts';
import { uniformResolver } from '../../src/weights/resolve.ts';

const read = (path: string): Record<string, unknown> =>
  JSON.parse(readFileSync(new URL(`../fixtures/${path}/config.json`, import.meta.url), 'utf8'));
const options = { capacity: 256, kvDtype: 'f16', prefillRows: 64, maxBindingBytes: 2 ** 31 } as const;
const plan = (json: Record<string, unknown>, more = {}) =>
  estimate(json, uniformResolver('bf16'), { ...options, ...more });

describe.each(['goldens/qwen2', 'goldens/qwen3-dense', 'goldens/qwen3-dense-untied-yarn'])('%s', (path) => {
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

describe('models at their published size', () => {
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
  it('splits a weight that is larger than a binding over more dispatches', () => {
    const whole = plan(read('configs/qwen3-0.6b')).estimate;
    const split = plan(read('configs/qwen3-0.6b'), { maxBindingBytes: 128 * 2 ** 20 }).estimate;
    // The tied embedding takes 297 MiB: 3 parts for the embedding and 3 for the head.
    expect(split.dispatchesOutsideLayers).toBe(whole.dispatchesOutsideLayers + 4);
    expect(split.dispatchesPerLayer).toBe(whole.dispatchesPerLayer);
  });
});
