import { expect, it } from 'vitest';
import { embed as variants } from '../../kernels/embed/embed.ts';
import { createTensor } from '../../src/graph/graph.ts';
import { embed } from '../../src/graph/ops/embed.ts';
import { Weights } from '../../src/graph/weight.ts';
import { formats } from '../../src/weights/formats.ts';
import { embed as reference } from '../reference/embed.ts';
import { packers } from '../reference/formats.ts';
import { expectRows } from './expect-rows.ts';
import { freshSeed, randomNormal, runVariants, seededRandom } from './harness.ts';

const names = Object.keys(formats) as (keyof typeof formats)[];

async function check(
  format: keyof typeof formats,
  tokens: number[],
  [tableRows, cols]: [number, number],
  maxBindingBytes?: number,
): Promise<void> {
  const seed = freshSeed();
  const packed = packers[format]!(randomNormal(seededRandom(seed), tableRows * cols), tableRows, cols);
  const outcomes = await runVariants(variants, {
    resolve: () => formats[format],
    record: (graph) =>
      embed(
        createTensor(graph, [tokens.length + 1], { dtype: 'u32' }),
        new Weights(graph).matrix(['embed_tokens'], [tableRows], cols),
      ),
    data: { tokens: Uint32Array.from(tokens) },
    weights: { weight: packed.sections },
    step: { rows: tokens.length, position: 0 },
    maxBindingBytes,
  });
  const values = reference(tokens, packed.values, tableRows, cols);
  // A GPU may flush subnormal float16 to zero.
  const tolerance = (i: number): number => (Math.abs(values[i]!) < 2 ** -14 ? Math.abs(values[i]!) : 0);
  for (const outcome of outcomes) expectRows(outcome, 'out', { values, tolerance }, seed);
}

it.for(names)('looks up rows of a %s table, exactly', async (format) => {
  await check(format, [0, 36, 5, 36, 17], [37, 33]);
});

it('gives NaN for a token outside the table, and nothing else', async () => {
  await check('bf16', [1, 7, 0xffffffff, 6], [7, 520]);
});

it('finds every token in a table split into parts', async () => {
  const rowBytes = formats.f32.sections[0]!.rowBytes(31);
  await check('f32', [0, 7, 8, 15, 16, 18, 19, 0xffffffff], [19, 31], 8 * rowBytes);
});

it('writes NaN where a token is outside, not a value that comparisons hide', async () => {
  const outcomes = await runVariants(variants, {
    resolve: () => formats.f32,
    record: (graph) =>
      embed(createTensor(graph, [1], { dtype: 'u32' }), new Weights(graph).matrix(['e'], [4], 4)),
    data: { tokens: Uint32Array.of(4) },
    weights: { weight: packers.f32!(new Float32Array(16), 4, 4).sections },
    step: { rows: 1, position: 0 },
  });
  for (const { label, outputs } of outcomes) {
    const bits = new Uint32Array((outputs.out as Float32Array).buffer);
    expect([...bits], label).toEqual([0x7fc00004, 0x7fc00004, 0x7fc00004, 0x7fc00004]);
  }
});
