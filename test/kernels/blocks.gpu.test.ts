/** The block types of GGUF, as their fragments give them to a kernel. */
import { expect, it } from 'vitest';
import { embed as variants } from '../../kernels/embed/embed.ts';
import { embed } from '../../src/graph/ops/embed.ts';
import { Weights } from '../../src/graph/weight.ts';
import { type BlockRows, readBlockRows } from '../weights/gguf/block-fixture.ts';
import { runVariants } from './harness.ts';

it.for(readBlockRows().map((rows): [string, BlockRows] => [rows.type, rows]))(
  '%s gives every value within a rounding',
  async ([, { format, rows, cols, sections, values }]) => {
    const outcomes = await runVariants(variants, {
      resolve: () => format,
      record: (graph) => embed(graph, rows, new Weights(graph).matrix(['m'], [rows], cols)),
      data: {},
      weights: { weight: sections },
      batch: { rows, tokens: Array.from({ length: rows }, (_, r) => r) },
    });
    for (const { label, outputs } of outcomes) {
      values.forEach((wanted, i) => {
        const largest = Math.max(...values.subarray(i - (i % 16), i - (i % 16) + 16).map(Math.abs));
        const error = Math.abs((outputs.out![i] as number) - wanted);
        // An offset is taken away with one rounding or two, of the larger of both.
        expect(error, `${label}: value ${i}`).toBeLessThanOrEqual(2 ** -23 * largest);
      });
    }
  },
);
