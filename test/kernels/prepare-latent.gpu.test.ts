/** @file `prepareLatent` against its f64 twin, in every tier; and with `attend` against latent attention as it is defined. */
import { describe, expect, test } from 'vitest';
import { attend } from '../../kernels/attention/attend.ts';
import { prepareLatent } from '../../kernels/latent/prepare-latent.ts';
import { BLOCK_LENGTH } from '../../src/graph/batch.ts';
import { createTensor, type Graph, rotaryTables, sessionTensor, viewColumns } from '../../src/graph/graph.ts';
import { attend as recordAttend } from '../../src/graph/ops/attention.ts';
import { type KvFormat, kvRole } from '../../src/graph/ops/cache.ts';
import { prepareLatent as recordPrepareLatent } from '../../src/graph/ops/latent.ts';
import { readRope, ropeAngles } from '../../src/graph/rope.ts';
import { Weights } from '../../src/graph/weight.ts';
import { formats } from '../../src/weights/formats.ts';
import { packers } from '../reference/formats.ts';
import {
  expandedAttention,
  type LatentInputs,
  type LatentShape,
  prepareLatent as prepareLatentTwin,
} from '../reference/prepare-latent.ts';
import { freshSeed, type Outcome, randomNormal, runVariants, seededRandom } from './harness.ts';

const EPS = 1e-6;

interface Sizes extends Omit<LatentShape, 'rows' | 'eps'> {
  format: keyof typeof formats;
  dtype: KvFormat;
  /** q and latent are columns of one projection. */
  fused: boolean;
}

/** The last has the head sizes of DeepSeek-V3. */
const shapes: Sizes[] = [
  {
    heads: 2,
    nope: 20,
    rope: 16,
    v: 4,
    rank: 48,
    pairing: 'half',
    format: 'f32',
    dtype: 'int8',
    fused: true,
  },
  { heads: 3, nope: 16, rope: 8, v: 12, rank: 24, pairing: 'half', format: 'f32', dtype: 'f32', fused: true },
  {
    heads: 2,
    nope: 32,
    rope: 12,
    v: 12,
    rank: 44,
    pairing: 'interleaved',
    format: 'bf16',
    dtype: 'f16',
    fused: false,
  },
  {
    heads: 5,
    nope: 20,
    rope: 16,
    v: 32,
    rank: 40,
    pairing: 'interleaved',
    format: 'fp8',
    dtype: 'f32',
    fused: true,
  },
  {
    heads: 3,
    nope: 128,
    rope: 64,
    v: 128,
    rank: 512,
    pairing: 'interleaved',
    format: 'bf16',
    dtype: 'f16',
    fused: false,
  },
];

interface Problem {
  sizes: Sizes;
  shape: LatentShape;
  batch: { rows: number; position: number };
  recorded: number;
  inputs: LatentInputs & Record<'q' | 'latent' | 'angles' | 'norm', Float32Array>;
  packed: Readonly<Record<string, Uint8Array>>;
  seed: number;
}

function problemOf(
  sizes: Sizes,
  { rows, position, recorded }: Problem['batch'] & { recorded: number },
): Problem {
  const { heads, nope, rope, v, rank } = sizes;
  const seed = freshSeed();
  const random = seededRandom(seed);
  const values = randomNormal(random, heads * (nope + v) * rank, nope ** -0.5);
  const packed = packers[sizes.format]!(values, heads * (nope + v), rank);
  return {
    sizes,
    shape: { ...sizes, rows, eps: EPS },
    batch: { rows, position },
    recorded,
    inputs: {
      q: randomNormal(random, rows * heads * (nope + rope)),
      latent: randomNormal(random, rows * (rank + rope), 3),
      angles: ropeAngles(readRope({ rope_theta: 1e4 }, rope, 'test'), position, rows, position + rows),
      norm: randomNormal(random, rank),
      weight: packed.values,
    },
    packed: packed.sections,
    seed,
  };
}

function recordProblem(graph: Graph, { sizes, recorded }: Problem): void {
  const { heads, nope, rope, v, rank } = sizes;
  const headDim = nope + rope;
  const qCols = heads * headDim;
  const wide = createTensor(graph, [recorded, qCols + rank + rope]);
  const latent = sizes.fused
    ? viewColumns(wide, qCols, [rank + rope])
    : createTensor(graph, [recorded, rank + rope]);
  const w = new Weights(graph);
  recordPrepareLatent(
    { q: viewColumns(wide, 0, [heads, headDim]), latent, angles: rotaryTables(graph, recorded) },
    {
      norm: w.vector(['kv_a_layernorm.weight'], [rank]),
      weight: w.matrix(['kv_b_proj'], [heads * (nope + v)], rank, { unitRows: nope + v }),
    },
    { layer: 0, format: sizes.dtype, eps: EPS, pairing: sizes.pairing },
  );
}

const run = (p: Problem, maxBindingBytes?: number): Promise<Outcome[]> => {
  const { q, latent, angles, norm } = p.inputs;
  return runVariants(prepareLatent, {
    resolve: (names) => (names[0]!.includes('norm') ? formats.f32 : formats[p.sizes.format]),
    record: (graph) => recordProblem(graph, p),
    data: { q, latent, angles },
    layout: { rotated: p.sizes.rope },
    weights: { norm, weight: p.packed },
    batch: p.batch,
    ...(maxBindingBytes !== undefined && { maxBindingBytes }),
  });
};

/** A sum of f32 products is off by a few roundings of 2^-24 of what it adds up. */
const F32 = 1e-6;
/** Rounding to float16, in either direction. */
const F16 = 2 ** -10;

/** Values [begin, begin + wanted.length) within their tolerance, all others still poison. */
function expectValues(
  found: ArrayLike<number>,
  begin: number,
  wanted: readonly number[],
  tolerance: (i: number) => number,
  label: string,
): void {
  const wrong: string[] = [];
  for (let at = 0; at < found.length; at++) {
    const i = at - begin;
    if (i < 0 || i >= wanted.length) {
      if (!Number.isNaN(found[at])) wrong.push(`${at} was not to be written`);
    } else if (!(Math.abs(found[at]! - wanted[i]!) <= tolerance(i))) {
      wrong.push(`${at} is ${found[at]}, wanted ${wanted[i]} within ${tolerance(i)}`);
    }
  }
  expect(wrong.slice(0, 8), `${label}: ${wrong.length} wrong`).toEqual([]);
}

function expectLatent({ sizes, shape, batch, inputs, seed }: Problem, outcomes: readonly Outcome[]): void {
  const twin = prepareLatentTwin(inputs, shape);
  const width = sizes.rank + sizes.rope;
  const cacheError = { f16: F16, f32: F32, int8: F32 }[sizes.dtype];
  // Half a step of the row's scale.
  const step = (i: number): number => {
    if (sizes.dtype !== 'int8') return 0;
    const row = twin.cache.slice(i - (i % width), i - (i % width) + width);
    return (0.5001 / 127) * Math.max(...row.map(Math.abs));
  };
  // A rotated value is off by roundings of the larger of its pair.
  const ofPair = (i: number): number => (i % width < sizes.rank ? 0 : 4 * 3 * F32);
  for (const { label, outputs, caches } of outcomes) {
    const where = `${label} seed ${seed}`;
    expectValues(outputs.out!, 0, twin.out, (i) => F32 * twin.magnitude[i]!, `${where} out`);
    expectValues(
      caches.cache![0]!,
      batch.position * width,
      twin.cache,
      (i) => cacheError * Math.abs(twin.cache[i]!) + ofPair(i) + step(i) + 2 ** -24,
      `${where} cache`,
    );
  }
}

describe.each(shapes)(
  '$heads heads of $nope + $rope on a latent of $rank, $format weights, $dtype cache, $pairing pairs',
  (sizes) => {
    test.each([
      ...(sizes.rank === 512 ? [{ recorded: 1, rows: 1, position: 31 }] : []),
      { recorded: 7, rows: 5, position: 0 },
      { recorded: 16, rows: 13, position: 60 },
      { recorded: 70, rows: 67, position: 9 },
    ])('$rows of $recorded rows at position $position', async (batch) => {
      const p = problemOf(sizes, batch);
      expectLatent(p, await run(p));
    });
  },
);

test('a weight in parts of whole heads gives the same', async () => {
  const p = problemOf(shapes[1]!, { recorded: 9, rows: 9, position: 4 });
  const { heads, nope, v, rank } = p.sizes;
  const headBytes = (nope + v) * rank * 4;
  expectLatent(p, await run(p, (heads - 1) * headBytes));
});

test.each([
  { recorded: 7, sizes: shapes[1]! },
  { recorded: 33, sizes: shapes[3]! },
])(
  'with attend and the value projection it is the expanded form of latent attention: $recorded rows',
  async ({ recorded, sizes }) => {
    const p = problemOf({ ...sizes, dtype: 'f32' }, { recorded, rows: recorded, position: 0 });
    const { heads, nope, rope, v, rank } = p.sizes;
    const width = rank + rope;
    const scale = (nope + rope) ** -0.5;
    const wanted = expandedAttention(p.inputs, p.shape, scale);
    for (const { label, outputs, caches } of await run(p)) {
      const keys = caches.cache![0]!.subarray(0, recorded * width);
      const attended = await runVariants(attend, {
        record(graph) {
          const role = kvRole(graph, 0, undefined);
          const cache = sessionTensor(graph, 'latent', [BLOCK_LENGTH, 1, width], 'f32', role);
          const values = viewColumns(cache, 0, [1, rank]);
          const q = createTensor(graph, [recorded, heads, width]);
          recordAttend(q, { keys: cache, values, window: undefined }, scale);
        },
        data: { q: outputs.out! },
        caches: { keys: [keys] },
        batch: p.batch,
      });
      for (const {
        label: attendLabel,
        outputs: { out },
      } of attended) {
        const found = wanted.map((_, i) => {
          const [head, j] = [Math.floor(i / v) % heads, i % v];
          const row = (head * (nope + v) + nope + j) * rank;
          let sum = 0;
          for (let c = 0; c < rank; c++)
            sum += p.inputs.weight[row + c]! * out![Math.floor(i / v) * rank + c]!;
          return sum;
        });
        // Scores of some tens, each off by roundings of 2^-24 of them, are what weights and so values are off by.
        expectValues(found, 0, wanted, () => 2e-4, `${label}, ${attendLabel} seed ${p.seed}`);
      }
    }
  },
);
