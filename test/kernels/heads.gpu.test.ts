/** @file rope, mixHeads, appendKv and prepareHeads against their f64 twins, in every tier. */
import { describe, expect, test } from 'vitest';
import { appendKv } from '../../kernels/heads/append-kv.ts';
import { mixHeads } from '../../kernels/heads/mix-heads.ts';
import { prepareHeads } from '../../kernels/heads/prepare-heads.ts';
import { rope } from '../../kernels/heads/rope.ts';
import {
  batchTensor,
  createTensor,
  type Graph,
  record,
  rotaryTables,
  type Tensor,
} from '../../src/graph/graph.ts';
import { type KvFormat, kvCache, appendKv as recordAppendKv } from '../../src/graph/ops/cache.ts';
import {
  type RopePairing,
  mixHeads as recordMixHeads,
  rope as recordRope,
  splitHeads,
} from '../../src/graph/ops/heads.ts';
import { readRope, ropeAngles } from '../../src/graph/rope.ts';
import { Weights } from '../../src/graph/weight.ts';
import { throughInt8 } from '../reference/kv-cache.ts';
import { mixHeads as mixHeadsTwin } from '../reference/mix-heads.ts';
import { prepareHeads as prepareHeadsTwin } from '../reference/prepare-heads.ts';
import { rope as ropeTwin } from '../reference/rope.ts';
import { f16Bits, f16Value, freshSeed, randomNormal, runVariants, seededRandom } from './harness.ts';

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

/** Recorded rows, rows of the batch, position. */
const batches = [
  { recorded: 1, rows: 1, position: 131 },
  { recorded: 13, rows: 9, position: 60 },
];

interface HeadCase {
  recorded: number;
  rows: number;
  position: number;
  dtype: KvFormat;
  norms: boolean;
  mixes?: boolean;
}

const isPowerOfTwo = (n: number): boolean => (n & (n - 1)) === 0;

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
/** Rounding to int8, relative to the largest value of a head. */
const HALF_STEP = 0.5001 / 127;
/** Between two roundings of numbers that differ by a rounding of float32. */
const ONE_STEP = 1.0001 / 127;
const errorOf: Record<KvFormat, number> = { f32: F32, f16: F16, int8: HALF_STEP };

describe.each(shapes)('$heads and $kvHeads heads of $headDim, $rotated $pairing', (shape) => {
  const { heads, kvHeads, headDim, rotated, pairing } = shape;
  const half = rotated / 2;

  test.each(batches)('rope rotates $rows of $recorded rows', async ({ recorded, rows, position }) => {
    const seed = freshSeed();
    const random = seededRandom(seed);
    const x = randomNormal(random, rows * heads * headDim);
    const angles = anglesOf(rotated, position, rows);
    const outcomes = await runVariants(rope, {
      record(graph) {
        const wide = createTensor(graph, [recorded, (heads + 1) * headDim]);
        const [, view] = splitHeads(wide, [1, heads], headDim);
        recordRope(view!, rotaryTables(graph, recorded), pairing);
      },
      data: { x, angles },
      batch: { rows, position },
      layout: { rotated },
    });
    const twin = ropeTwin(x, angles, { rows, heads, headDim, half }, pairing);
    for (const { label, outputs } of outcomes) {
      expectHeads(outputs.out!, twin, headDim, 0, F32, `${label} seed ${seed}`);
    }
  });

  test.each(isPowerOfTwo(headDim) ? batches : [])('$rows of $recorded rows of heads are mixed', async (c) => {
    const seed = freshSeed();
    const x = randomNormal(seededRandom(seed), c.rows * heads * headDim);
    const outcomes = await runVariants(mixHeads, {
      record(graph) {
        const wide = createTensor(graph, [c.recorded, (heads + 1) * headDim]);
        const [, view] = splitHeads(wide, [1, heads], headDim);
        recordMixHeads(view!);
      },
      data: { x },
      batch: c,
    });
    for (const { label, outputs } of outcomes) {
      expectHeads(outputs.out!, mixHeadsTwin(x, headDim), headDim, 0, F32, `${label} seed ${seed}`);
    }
  });

  test.each<HeadCase>([
    { ...batches[0]!, dtype: 'f16', norms: true },
    { ...batches[1]!, dtype: 'f16', norms: true },
    { ...batches[1]!, dtype: 'f32', norms: false },
    // Of heads that are no multiple of 16 there are no caches in int8, and only a power of two is mixed.
    ...(headDim % 16 === 0 ? [{ ...batches[1]!, dtype: 'int8' as const, norms: true }] : []),
    ...(headDim % 16 === 0 && isPowerOfTwo(headDim)
      ? [
          { ...batches[0]!, dtype: 'int8' as const, norms: false, mixes: true },
          { ...batches[1]!, dtype: 'f32' as const, norms: true, mixes: true },
        ]
      : []),
  ])('heads are prepared: $rows of $recorded rows, $dtype cache, norms $norms, mixes $mixes', async (c) => {
    const seed = freshSeed();
    const random = seededRandom(seed);
    const { rows, position, dtype } = c;
    const q = randomNormal(random, rows * heads * headDim, 3);
    const k = randomNormal(random, rows * kvHeads * headDim, 3);
    const v = randomNormal(random, rows * kvHeads * headDim, 3);
    const angles = anglesOf(rotated, position, rows);
    const [qNorm, kNorm] = [randomNormal(random, headDim), randomNormal(random, headDim)];
    const outcomes = await runVariants(prepareHeads, {
      record: (graph) => recordPrepareHeads(graph, shape, c),
      data: { q, k, v, angles },
      weights: { qNorm, kNorm },
      batch: { rows, position },
      layout: { rotated },
    });
    const eps = 1e-6;
    const head = { rows, headDim, half };
    const norm = (weight: Float32Array) => (c.norms ? { weight, eps } : undefined);
    const mix = (x: number[]): number[] => (c.mixes ? mixHeadsTwin(x, headDim) : x);
    const qTwin = mix(prepareHeadsTwin(q, angles, { ...head, heads }, pairing, norm(qNorm)));
    const kTwin = mix(prepareHeadsTwin(k, angles, { ...head, heads: kvHeads }, pairing, norm(kNorm)));
    const begin = position * kvHeads * headDim;
    for (const { label, outputs, caches } of outcomes) {
      const where = `${label} seed ${seed}`;
      expectHeads(outputs.out!, qTwin, headDim, 0, F32, `${where} q`);
      expectHeads(caches.keys![0]!, kTwin, headDim, begin, errorOf[dtype], `${where} keys`);
      expectHeads(
        caches.values![0]!,
        Array.from(v),
        headDim,
        begin,
        dtype === 'f32' ? 0 : errorOf[dtype],
        `${where} values`,
      );
    }
  });
});

function recordPrepareHeads(
  graph: Graph,
  { heads, kvHeads, headDim, pairing }: HeadShape,
  { recorded: rows, dtype: format, norms: hasNorms, mixes = false }: HeadCase,
): void {
  const qkv = createTensor(graph, [rows, (heads + 2 * kvHeads) * headDim]);
  const [q, k, v] = splitHeads(qkv, [heads, kvHeads, kvHeads], headDim) as [Tensor, Tensor, Tensor];
  const cache = kvCache(graph, 0, { kvHeads, headDim, format });
  const w = new Weights(graph);
  record(graph, {
    kind: 'prepareHeads',
    scope: 'layer',
    inputs: { q, k, v, angles: rotaryTables(graph, rows), batch: batchTensor(graph) },
    weights: hasNorms
      ? { qNorm: w.vector(['q_norm.weight'], [headDim]), kNorm: w.vector(['k_norm.weight'], [headDim]) }
      : {},
    attrs: { eps: 1e-6, pairing, mixes },
    outputs: { out: createTensor(graph, [rows, heads, headDim]), keys: cache.keys, values: cache.values },
  });
}

describe('appendKv', () => {
  const append = async (k: Float32Array, v: Float32Array, rows: number, format: KvFormat) =>
    runVariants(appendKv, {
      record(graph) {
        const qkv = createTensor(graph, [13, 5 * 32]);
        const [, kView, vView] = splitHeads(qkv, [1, 2, 2], 32);
        recordAppendKv(kvCache(graph, 0, { kvHeads: 2, headDim: 32, format }), kView!, vView!);
      },
      data: { k, v },
      batch: { rows, position: 7 },
    });

  test.each(['f32', 'f16'] as const)('writes rows to their positions in an %s cache', async (dtype) => {
    const seed = freshSeed();
    const random = seededRandom(seed);
    const [k, v] = [randomNormal(random, 11 * 64), randomNormal(random, 11 * 64)];
    for (const { label, caches } of await append(k, v, 11, dtype)) {
      const relative = dtype === 'f16' ? F16 : 0;
      const where = `${label} seed ${seed}`;
      expectHeads(caches.keys![0]!, Array.from(k), 32, 7 * 64, relative, `${where} keys`);
      expectHeads(caches.values![0]!, Array.from(v), 32, 7 * 64, relative, `${where} values`);
    }
  });

  test('writes a scale of each head and position, and values in 1/127 of it, to an int8 cache', async () => {
    const seed = freshSeed();
    const random = seededRandom(seed);
    const [k, v] = [randomNormal(random, 11 * 64), randomNormal(random, 11 * 64, 300)];
    // A head of nothing but zeros.
    k.fill(0, 96, 128);
    for (const { label, caches } of await append(k, v, 11, 'int8')) {
      const where = `${label} seed ${seed}`;
      expectHeads(caches.keys![0]!, Array.from(k), 32, 7 * 64, HALF_STEP, `${where} keys`);
      expectHeads(caches.values![0]!, Array.from(v), 32, 7 * 64, HALF_STEP, `${where} values`);
      expectHeads(caches.keys![0]!, Array.from(throughInt8(k, 32)), 32, 7 * 64, ONE_STEP, `${where} keys`);
      for (let begin = 0; begin < 11 * 64; begin += 32) {
        const largest = (x: Float32Array): number => Math.max(...x.subarray(begin, begin + 32).map(Math.abs));
        const found = caches.keys![0]!.subarray(7 * 64);
        expect(largest(found), `${where}: the largest value is exact`).toBe(largest(k));
      }
    }
  });

  test('NaN and infinity show in every value of their head of an int8 cache, and in no other', async () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const k = new Float32Array(2 * 64).map((_, i) => i - 7);
      k[100] = bad;
      for (const { label, caches } of await append(k, k, 2, 'int8')) {
        for (const cache of [caches.keys![0]!, caches.values![0]!]) {
          for (let i = 0; i < 128; i++) {
            const found = cache[7 * 64 + i]!;
            const isBad = i >= 96;
            expect(Number.isFinite(found), `${label}: ${bad} at 100, ${found} at ${i}`).toBe(!isBad);
          }
        }
      }
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
    const k = new Float32Array(64).map((_, i) => special[i % special.length]!);
    for (const { label, caches } of await append(k, k, 1, 'f16')) {
      for (const cache of [caches.keys![0]!, caches.values![0]!]) {
        k.forEach((value, i) => {
          const found = cache[7 * 64 + i];
          // 65519 lies between the largest float16 and infinity: a driver may round it either way.
          if (value === 65519) expect([65504, 65536, Number.POSITIVE_INFINITY], label).toContain(found);
          else expect(found, `${label}: ${value}`).toBe(f16Value(f16Bits(value)));
        });
      }
    }
  });
});
