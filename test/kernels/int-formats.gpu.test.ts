/** Every layout of integer weights, as its fragment gives it to a kernel. */
import { expect, it } from 'vitest';
import { embed as variants } from '../../kernels/embed/embed.ts';
import { embed } from '../../src/graph/ops/embed.ts';
import { Weights } from '../../src/graph/weight.ts';
import { type IntLayout, intFormat } from '../../src/weights/int-format.ts';
import { ints } from '../reference/formats.ts';
import { freshSeed, randomNormal, runVariants, seededRandom } from './harness.ts';

const layouts = ([4, 8] as const).flatMap((bits): IntLayout[] => [
  { bits, groupSize: 32, words: 'f16-zero' },
  { bits, groupSize: 64, words: 'f16-bias' },
  { bits, groupSize: 64, words: 'bf16-bias' },
  { bits, groupSize: 128, words: 'bf16-zero' },
  { bits, groupSize: 128, words: 'f32' },
  { bits, groupSize: undefined, words: 'f32' },
  { bits, groupSize: 32, words: 'f16-zero', anyGroup: true },
]);

it.for(layouts.map((layout): [string, IntLayout] => [intFormat(layout).name, layout]))(
  '%s gives every value to the last bit',
  async ([, layout]) => {
    const seed = freshSeed();
    const random = seededRandom(seed);
    const [rows, cols] = [5, 32 * (1 + Math.floor(12 * random())) + 8];
    const packed = ints(layout)(randomNormal(random, rows * cols), rows, cols);
    const format = intFormat(layout);
    for (const { name, rowBytes } of format.sections)
      expect(packed.sections[name]!.length, `${name} of ${cols} columns`).toBe(rows * rowBytes(cols));
    const outcomes = await runVariants(variants, {
      resolve: () => format,
      record: (graph) => embed(graph, rows, new Weights(graph).matrix(['m'], [rows], cols)),
      data: {},
      weights: { weight: packed.sections },
      batch: { rows, tokens: Array.from({ length: rows }, (_, r) => r) },
    });
    for (const { label, outputs } of outcomes) {
      packed.values.forEach((wanted, i) => {
        // A bias is added with one rounding or two, as the compiler likes; everything else is exact.
        const tolerance = layout.words.endsWith('bias') ? 2 ** -23 * Math.max(4, Math.abs(wanted)) : 0;
        const error = Math.abs((outputs.out![i] as number) - wanted);
        expect(error, `${label}, seed ${seed}: value ${i} of rows of ${cols}`).toBeLessThanOrEqual(tolerance);
      });
    }
  },
);
