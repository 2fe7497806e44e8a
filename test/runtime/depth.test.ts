/** @file The number of steps in flight, against GPUs whose tokens take their time to come back. */
import { describe, expect, test } from 'vitest';
import { createDepthGauge } from '../../src/runtime/generate/depth.ts';

/** The depth after so many tokens on a GPU that takes `step` ms for each, which is known `latency` ms later. */
function depthAfter(numTokens: number, { step, latency }: { step: number; latency: number }): number {
  const gauge = createDepthGauge();
  const ready: number[] = [];
  let [now, gpuFree] = [0, 0];
  gauge.begin();
  for (let taken = 0; taken < numTokens; taken++) {
    while (ready.length < gauge.depth) {
      gpuFree = Math.max(gpuFree, now) + step;
      ready.push(gpuFree + latency);
    }
    now = Math.max(now, ready.shift()!);
    gauge.step(now);
  }
  return gauge.depth;
}

describe('steps in flight', () => {
  test.each([
    { step: 10, latency: 0.5, depth: 2 },
    { step: 10, latency: 15, depth: 3 },
    { step: 10, latency: 28, depth: 4 },
    { step: 10, latency: 100, depth: 8 },
    { step: 2, latency: 100, depth: 8 },
  ])('are $depth where a step takes $step ms and its token $latency ms more', ({ depth, ...gpu }) => {
    expect(depthAfter(400, gpu)).toBe(depth);
  });

  test('are tried again later, and stay where more gain nothing', () => {
    for (const numTokens of [1000, 1010, 1020, 1500, 2000]) {
      expect(depthAfter(numTokens, { step: 10, latency: 0.5 })).toBeLessThanOrEqual(3);
    }
  });

  test('are found again in an answer that begins', () => {
    const gauge = createDepthGauge();
    for (let answer = 0; answer < 50; answer++) {
      gauge.begin();
      // Between answers lies a pause, which belongs to no measurement.
      for (let token = 0; token < 30; token++) gauge.step(answer * 10_000 + token * 10);
    }
    expect(gauge.depth).toBeLessThanOrEqual(3);
  });
});
