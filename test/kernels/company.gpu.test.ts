/** @file What few rows go through gives a row the same bits whoever stands beside it, and however many rows a program is recorded for. */

import { describe, expect, inject, it } from 'vitest';
import { expertLinear } from '../../kernels/experts/expert-linear.ts';
import { headLinear } from '../../kernels/latent/head-linear.ts';
import { prepareLatent } from '../../kernels/latent/prepare-latent.ts';
import { linear } from '../../kernels/linear/linear.ts';
import { rmsNorm } from '../../kernels/norm/rms-norm.ts';
import type { KernelVariant } from '../../src/gpu/kernel.ts';
import {
  createTensor,
  type Graph,
  type OpKind,
  rotaryTables,
  type Tensor,
  viewColumns,
} from '../../src/graph/graph.ts';
import { prepareLatent as recordPrepareLatent } from '../../src/graph/ops/latent.ts';
import { rmsNorm as recordRmsNorm } from '../../src/graph/ops/norm.ts';
import { Weights } from '../../src/graph/weight.ts';
import { formats } from '../../src/weights/formats.ts';
import { packers } from '../reference/formats.ts';
import { freshSeed, type Outcome, type Problem, randomNormal, runVariants, seededRandom } from './harness.ts';

const MOST = 16;
/** Rows of those that stand together: the first, how many, and how many the program is recorded for. A plain run takes three of them. */
const CASES = [
  [7, 1, 1],
  [6, 3, 3],
  [3, 5, 16],
  [0, 1, 1],
  [15, 1, 1],
  [11, 2, 2],
  [5, 8, 8],
  [7, 9, 9],
] as const;
/** Of all variants, those of few rows. */
const fewOf = (variants: readonly { name: string }[]): string[] =>
  variants.map((v) => v.name).filter((name) => !/^(tile|rows)/.test(name));

interface Company {
  /** Dense rows, MOST of them, by role. */
  data: Record<string, Float32Array | Uint32Array>;
  weights: NonNullable<Problem['weights']>;
  resolve?: Problem['resolve'];
  record(graph: Graph, rows: number): void;
}

const bits = (x: Float32Array | Uint32Array, begin: number, end: number): number[] => [
  ...new Uint32Array(x.buffer, x.byteOffset + 4 * begin, end - begin),
];

async function expectSameBits<K extends OpKind>(
  variants: readonly KernelVariant<K>[],
  { data, weights, resolve, record }: Company,
  seed: number,
  only = fewOf(variants),
): Promise<void> {
  const run = (first: number, rows: number, recorded: number): Promise<Outcome[]> => {
    const cut = Object.entries(data).map(([role, all]) => {
      const each = all.length / MOST;
      return [role, all.slice(first * each, (first + rows) * each)] as const;
    });
    return runVariants(variants, {
      ...(resolve && { resolve }),
      weights,
      only,
      data: Object.fromEntries(cut),
      record: (graph) => record(graph, recorded),
      batch: { rows, position: 100 + first },
      layout: { rows: MOST, capacity: 200, rotated: 'angles' in data ? data.angles!.length / MOST : 0 },
    });
  };
  const together = new Map((await run(0, MOST, MOST)).map((o) => [o.label, o]));
  for (const [first, rows, recorded] of inject('everyCase') ? CASES : CASES.slice(0, 3)) {
    const outcomes = await run(first, rows, recorded);
    // With several rows x is staged anyway, so that the variant which always stages is the same kernel.
    const plain = (label: string): string => label.replace('-staged', '');
    expect(new Set(outcomes.map((o) => plain(o.label)))).toEqual(new Set([...together.keys()].map(plain)));
    for (const { label, outputs, caches } of outcomes) {
      const where = `${label}, ${rows} rows from ${first}, recorded for ${recorded}, seed ${seed}`;
      const wanted = together.get(label) ?? together.get(plain(label))!;
      for (const [role, found] of Object.entries(outputs)) {
        const each = found.length / recorded;
        expect(bits(found, 0, rows * each), `${where}: ${role}`).toEqual(
          bits(wanted.outputs[role]!, first * each, (first + rows) * each),
        );
      }
      for (const [role, [found]] of Object.entries(caches)) {
        const all = wanted.caches[role]![0]!;
        // Blocks of 64 positions; both begin at position 0.
        const width = data.latent!.length / MOST;
        const [begin, end] = [(100 + first) * width, (100 + first + rows) * width];
        expect(bits(found!, begin, end), `${where}: ${role}`).toEqual(bits(all, begin, end));
      }
    }
  }
}

const names: (keyof typeof formats)[] = ['bf16', 'int4', 'int8', 'fp8'];
const isVector = (name: string): boolean => /norm|bias/.test(name);
const resolveWith =
  (format: keyof typeof formats) =>
  ([name]: readonly string[]) =>
    isVector(name!) ? formats.f32 : formats[format];

describe.for(names)('a row gives the same bits alone and in company, over %s weights', (format) => {
  const packed = (random: () => number, rows: number, cols: number) =>
    packers[format]!(randomNormal(random, rows * cols, 0.5), rows, cols).sections;

  it('in linear, plain and with all that is folded in', async () => {
    const seed = freshSeed();
    const random = seededRandom(seed);
    // Variants that measurements choose among are the same bodies in other shapes.
    const only = inject('everyCase') ? undefined : ['matvec-waves', 'matvec'];
    for (const { cols, weightRows, isFolded } of [
      { cols: 333, weightRows: 46, isFolded: true },
      { cols: 1032, weightRows: 35, isFolded: false },
    ]) {
      const outputs = isFolded ? weightRows / 2 : weightRows;
      await expectSameBits(
        linear,
        {
          data: {
            x: randomNormal(random, MOST * cols),
            ...(isFolded && { residual: randomNormal(random, MOST * outputs) }),
          },
          weights: {
            weight: packed(random, weightRows, cols),
            ...(isFolded && { bias: randomNormal(random, weightRows), norm: randomNormal(random, cols) }),
          },
          resolve: resolveWith(format),
          record(graph, rows) {
            const w = new Weights(graph);
            const tensor = (width: number): Tensor => createTensor(graph, [rows, width]);
            graph.ops.push({
              kind: 'linear',
              scope: 'test',
              inputs: { x: tensor(cols), ...(isFolded && { residual: tensor(outputs) }) },
              weights: {
                weight: w.matrix(['m'], [weightRows], cols),
                ...(isFolded && { bias: w.vector(['bias'], [weightRows]), norm: w.vector(['norm'], [cols]) }),
              },
              attrs: { eps: 1e-5, gate: isFolded ? 'silu' : undefined, scale: 1 },
              outputs: { out: tensor(outputs) },
            });
          },
        },
        seed,
        only,
      );
    }
  });

  // Sixteen rows of it compile for a minute over each other format.
  it.skipIf(format !== 'bf16' && !inject('everyCase'))('in headLinear', async () => {
    const seed = freshSeed();
    const random = seededRandom(seed);
    const [heads, cols, unitRows, n] = [3, 68, 28, 20];
    await expectSameBits(
      headLinear,
      {
        data: { x: randomNormal(random, MOST * heads * cols) },
        weights: { weight: packed(random, heads * unitRows, cols) },
        resolve: resolveWith(format),
        record(graph, rows) {
          graph.ops.push({
            kind: 'headLinear',
            scope: 'test',
            inputs: { x: createTensor(graph, [rows, heads, cols]) },
            weights: { weight: new Weights(graph).matrix(['m'], [heads * unitRows], cols, { unitRows }) },
            attrs: { firstRow: 8, numRows: n },
            outputs: { out: createTensor(graph, [rows, heads * n]) },
          });
        },
      },
      seed,
    );
  });

  it.for([false, true])('in expertLinear, adding up: %s', async (isSum) => {
    const seed = freshSeed();
    const random = seededRandom(seed);
    const [k, numExperts, cols, unitRows] = [3, 7, 100, 20];
    const x = randomNormal(random, MOST * (isSum ? k : 1) * cols);
    const experts = Uint32Array.from({ length: MOST * k }, () => Math.floor(random() * numExperts));
    await expectSameBits(
      expertLinear,
      {
        data: { x, experts, ...(isSum && { scales: randomNormal(random, MOST * k) }) },
        weights: {
          weight: packed(random, numExperts * unitRows, cols),
          ...(!isSum && { norm: randomNormal(random, cols) }),
        },
        resolve: resolveWith(format),
        record(graph, rows) {
          const w = new Weights(graph);
          graph.ops.push({
            kind: 'expertLinear',
            scope: 'test',
            inputs: {
              x: createTensor(graph, isSum ? [rows, k, cols] : [rows, cols]),
              experts: createTensor(graph, [rows, k], { dtype: 'u32' }),
              ...(isSum && { scales: createTensor(graph, [rows, k]) }),
            },
            weights: {
              weight: w.experts(numExperts, ['m'], [unitRows], cols),
              ...(!isSum && { norm: w.vector(['norm'], [cols]) }),
            },
            attrs: { eps: 1e-5, gate: undefined, tile: undefined },
            outputs: { out: createTensor(graph, isSum ? [rows, unitRows] : [rows, k, unitRows]) },
          });
        },
      },
      seed,
    );
  });

  it('in prepareLatent', async () => {
    const seed = freshSeed();
    const random = seededRandom(seed);
    const [heads, nope, rope, v, rank] = [3, 20, 16, 8, 48];
    await expectSameBits(
      prepareLatent,
      {
        data: {
          q: randomNormal(random, MOST * heads * (nope + rope)),
          latent: randomNormal(random, MOST * (rank + rope)),
          angles: randomNormal(random, MOST * rope),
        },
        weights: {
          norm: randomNormal(random, rank),
          weight: packed(random, heads * (nope + v), rank),
        },
        resolve: resolveWith(format),
        record(graph, rows) {
          const w = new Weights(graph);
          const wide = createTensor(graph, [rows, heads * (nope + rope) + rank + rope]);
          recordPrepareLatent(
            {
              q: viewColumns(wide, 0, [heads, nope + rope]),
              latent: viewColumns(wide, heads * (nope + rope), [rank + rope]),
              angles: rotaryTables(graph, rows),
            },
            {
              norm: w.vector(['norm'], [rank]),
              weight: w.matrix(['m'], [heads * (nope + v)], rank, { unitRows: nope + v }),
            },
            { layer: 0, format: format === 'int8' ? 'int8' : 'f16', eps: 1e-6, pairing: 'half' },
          );
        },
      },
      seed,
    );
  });
});

it.for([
  [1, 333],
  [1, 2052],
  [1, 64],
  [5, 40],
])('a row gives the same bits alone and in company, in rmsNorm of %i heads of %i', async ([heads, cols]) => {
  const seed = freshSeed();
  const random = seededRandom(seed);
  await expectSameBits(
    rmsNorm,
    {
      data: { x: randomNormal(random, MOST * heads! * cols!) },
      weights: { norm: randomNormal(random, cols!) },
      record(graph, rows) {
        const x = createTensor(graph, heads === 1 ? [rows, cols!] : [rows, heads!, cols!]);
        recordRmsNorm(x, new Weights(graph).vector(['norm'], [cols!]), 1e-6);
      },
    },
    seed,
    rmsNorm.map((v) => v.name),
  );
});
