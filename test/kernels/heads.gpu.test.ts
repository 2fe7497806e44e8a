/** @file rope, appendKv and prepareHeads against their f64 twins, in every tier. */
import { describe, expect, test } from 'vitest';
import { appendKv } from '../../kernels/heads/append-kv.ts';
import { prepareHeads } from '../../kernels/heads/prepare-heads.ts';
import { rope } from '../../kernels/heads/rope.ts';
import { createTensor, type Graph, record, type Tensor } from '../../src/graph/graph.ts';
import { kvCache, appendKv as recordAppendKv } from '../../src/graph/ops/cache.ts';
import { type RopePairing, rope as recordRope, splitHeads } from '../../src/graph/ops/heads.ts';
import { readRope, ropeAngles } from '../../src/graph/rope.ts';
import { Weights } from '../../src/graph/weight.ts';
import { prepareHeads as prepareHeadsTwin } from '../reference/prepare-heads.ts';
import { rope as ropeTwin } from '../reference/rope.ts';
import { f16Bits, f16Value, freshSeed, randomNormal, runVariants, seededRandom } from './harness.ts';

const CAPACITY = 40;

interface HeadShape {
  heads: number;
  kvHeads: number;
  headDim: number;
  /** Values of a head that are rotated. */
  rotated: number;
  pairing: RopePairing;
}

const shapes: HeadShape[] = [
  { heads: 1, kvHeads: 1, headDim: 16, rotated: 16, pairing: 'half' },
  { heads: 5, kvHeads: 1, headDim: 40, rotated: 40, pairing: 'half' },
  { heads: 4, kvHeads: 2, headDim: 32, rotated: 12, pairing: 'interleaved' },
  { heads: 3, kvHeads: 3, headDim: 64, rotated: 16, pairing: 'half' },
  { heads: 8, kvHeads: 2, headDim: 128, rotated: 128, pairing: 'half' },
  { heads: 2, kvHeads: 1, headDim: 256, rotated: 256, pairing: 'interleaved' },
];

/** Recorded rows, rows of the step, position. */
const steps = [
  { recorded: 1, rows: 1, position: 31 },
  { recorded: 13, rows: 9, position: 0 },
];

const anglesOf = (rotated: number, position: number, rows: number): Float32Array =>
  ropeAngles(readRope({ rope_theta: 1e4 }, rotated, 'test'), position, rows, position + rows);

/**
 * Each value within `relative` of the largest value of its head (what a rotation mixes and a norm divides by); rows
 * that were not asked for still poison.
 */
function expectHeads(
  found: ArrayLike<number>,
  twin: readonly number[],
  headDim: number,
  begin: number,
  relative: number,
  label: string,
): void {
  const wrong: string[] = [];
  for (let i = 0; i < found.length; i++) {
    const wanted = i >= begin && i < begin + twin.length ? twin[i - begin]! : Number.NaN;
    if (Number.isNaN(wanted)) {
      if (!Number.isNaN(found[i])) wrong.push(`${i} was not to be written`);
      continue;
    }
    const head = Math.floor((i - begin) / headDim) * headDim;
    const largest = Math.max(...twin.slice(head, head + headDim).map(Math.abs));
    if (!(Math.abs(found[i]! - wanted) <= relative * largest))
      wrong.push(`${i} is ${found[i]}, wanted ${wanted}`);
  }
  expect(wrong.slice(0, 8), label).toEqual([]);
}

/** f32 arithmetic of one head: a few roundings of 2^-24. */
const F32 = 2e-6;
/** Rounding to float16, in either direction. */
const F16 = 2 ** -10;

describe.each(shapes)('$heads and $kvHeads heads of $headDim, $rotated $pairing', (shape) => {
  const { heads, kvHeads, headDim, rotated, pairing } = shape;
  const half = rotated / 2;

  test.each(steps)('rope rotates $rows of $recorded rows', async ({ recorded, rows, position }) => {
    const seed = freshSeed();
    const random = seededRandom(seed);
    const x = randomNormal(random, rows * heads * headDim);
    const angles = anglesOf(rotated, position, rows);
    const outcomes = await runVariants(rope, {
      record(graph) {
        const wide = createTensor(graph, [recorded, (heads + 1) * headDim]);
        const [, view] = splitHeads(wide, [1, heads], headDim);
        recordRope(view!, createTensor(graph, [recorded, rotated]), pairing);
      },
      data: { x, angles },
      step: { rows, position },
    });
    const twin = ropeTwin(x, angles, { rows, heads, headDim, half }, pairing);
    for (const { label, outputs } of outcomes) {
      expectHeads(outputs.out!, twin, headDim, 0, F32, `${label} seed ${seed}`);
    }
  });

  test.each([
    { ...steps[0]!, dtype: 'f16', norms: true },
    { ...steps[1]!, dtype: 'f16', norms: true },
    { ...steps[1]!, dtype: 'f32', norms: false },
  ] as const)('heads are prepared: $rows of $recorded rows, $dtype cache, norms $norms', async (c) => {
    const seed = freshSeed();
    const random = seededRandom(seed);
    const { rows, recorded, position, dtype } = c;
    const q = randomNormal(random, rows * heads * headDim, 3);
    const k = randomNormal(random, rows * kvHeads * headDim, 3);
    const v = randomNormal(random, rows * kvHeads * headDim, 3);
    const angles = anglesOf(rotated, position, rows);
    const [qNorm, kNorm] = [randomNormal(random, headDim), randomNormal(random, headDim)];
    const outcomes = await runVariants(prepareHeads, {
      record: (graph) => recordPrepareHeads(graph, shape, recorded, dtype, c.norms),
      data: { q, k, v, angles },
      weights: { qNorm, kNorm },
      step: { rows, position },
    });
    const eps = 1e-6;
    const head = { rows, headDim, half };
    const norm = (weight: Float32Array) => (c.norms ? { weight, eps } : undefined);
    const qTwin = prepareHeadsTwin(q, angles, { ...head, heads }, pairing, norm(qNorm));
    const kTwin = prepareHeadsTwin(k, angles, { ...head, heads: kvHeads }, pairing, norm(kNorm));
    const begin = position * kvHeads * headDim;
    for (const { label, outputs } of outcomes) {
      const where = `${label} seed ${seed}`;
      expectHeads(outputs.out!, qTwin, headDim, 0, F32, `${where} q`);
      expectHeads(outputs.keys!, kTwin, headDim, begin, dtype === 'f16' ? F16 : F32, `${where} keys`);
      expectHeads(
        outputs.values!,
        Array.from(v),
        headDim,
        begin,
        dtype === 'f16' ? F16 : 0,
        `${where} values`,
      );
    }
  });
});

function recordPrepareHeads(
  graph: Graph,
  { heads, kvHeads, headDim, rotated, pairing }: HeadShape,
  rows: number,
  dtype: 'f32' | 'f16',
  hasNorms: boolean,
): void {
  const qkv = createTensor(graph, [rows, (heads + 2 * kvHeads) * headDim]);
  const [q, k, v] = splitHeads(qkv, [heads, kvHeads, kvHeads], headDim) as [Tensor, Tensor, Tensor];
  const cache = kvCache(graph, 0, CAPACITY, kvHeads, headDim, dtype);
  const w = new Weights(graph);
  record(graph, {
    kind: 'prepareHeads',
    scope: 'layer',
    inputs: { q, k, v, angles: createTensor(graph, [rows, rotated]) },
    weights: hasNorms
      ? { qNorm: w.vector(['q_norm.weight'], [headDim]), kNorm: w.vector(['k_norm.weight'], [headDim]) }
      : {},
    attrs: { eps: 1e-6, pairing },
    outputs: { out: createTensor(graph, [rows, heads, headDim]), ...cache },
  });
}

describe('appendKv', () => {
  const append = async (k: Float32Array, v: Float32Array, rows: number, dtype: 'f32' | 'f16') =>
    runVariants(appendKv, {
      record(graph) {
        const qkv = createTensor(graph, [13, 5 * 20]);
        const [, kView, vView] = splitHeads(qkv, [1, 2, 2], 20);
        recordAppendKv(kvCache(graph, 0, CAPACITY, 2, 20, dtype), kView!, vView!);
      },
      data: { k, v },
      step: { rows, position: 7 },
    });

  test.each(['f32', 'f16'] as const)('writes rows to the step position of an %s cache', async (dtype) => {
    const seed = freshSeed();
    const random = seededRandom(seed);
    const [k, v] = [randomNormal(random, 11 * 40), randomNormal(random, 11 * 40)];
    for (const { label, outputs } of await append(k, v, 11, dtype)) {
      const relative = dtype === 'f16' ? F16 : 0;
      const where = `${label} seed ${seed}`;
      expectHeads(outputs.keys!, Array.from(k), 20, 7 * 40, relative, `${where} keys`);
      expectHeads(outputs.values!, Array.from(v), 20, 7 * 40, relative, `${where} values`);
    }
  });

  test('values that float16 cannot hold become infinite, and NaN stays NaN', async () => {
    const special = [
      65504,
      -65504,
      65519,
      65520,
      -65520,
      1e30,
      -1e30,
      3e38,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      Number.NaN,
      1,
      -0.5,
      2 ** -14,
      0,
    ];
    const k = new Float32Array(40).map((_, i) => special[i % special.length]!);
    for (const { label, outputs } of await append(k, k, 1, 'f16')) {
      for (const cache of [outputs.keys!, outputs.values!]) {
        k.forEach((value, i) => {
          const found = cache[7 * 40 + i];
          // 65519 lies between the largest float16 and infinity: a driver may round it either way.
          if (value === 65519) expect([65504, 65536, Number.POSITIVE_INFINITY], label).toContain(found);
          else expect(found, `${label}: ${value}`).toBe(f16Value(f16Bits(value)));
        });
      }
    }
  });
});
