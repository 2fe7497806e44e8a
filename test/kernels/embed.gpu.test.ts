import { expect, it } from 'vitest';
import { embed as variants } from '../../kernels/embed/embed.ts';
import { DRAFTED_TOKEN, SAMPLED_TOKEN } from '../../src/graph/batch.ts';
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
  scale = 1,
): Promise<void> {
  const seed = freshSeed();
  const packed = packers[format]!(randomNormal(seededRandom(seed), tableRows * cols), tableRows, cols);
  const outcomes = await runVariants(variants, {
    resolve: () => formats[format],
    record: (graph) =>
      embed(graph, tokens.length + 1, new Weights(graph).matrix(['embed_tokens'], [tableRows], cols), scale),
    data: {},
    weights: { weight: packed.sections },
    batch: { rows: tokens.length, tokens },
    maxBindingBytes,
  });
  const values = reference(tokens, packed.values, tableRows, cols).map((value) => Math.fround(value * scale));
  // A GPU may flush subnormal float16 to zero.
  const tolerance = (i: number): number => (Math.abs(values[i]!) < 2 ** -14 ? Math.abs(values[i]!) : 0);
  for (const outcome of outcomes) expectRows(outcome, 'out', { values, tolerance }, seed);
}

it.for(names)('looks up rows of a %s table, exactly', async (format) => {
  await check(format, [0, 36, 5, 36, 17], [37, 33]);
});

it('multiplies what it looks up', async () => {
  await check('bf16', [3, 0, 7, 6], [7, 33], undefined, 12.5);
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
    record: (graph) => embed(graph, 1, new Weights(graph).matrix(['e'], [4], 4)),
    data: {},
    weights: { weight: packers.f32!(new Float32Array(16), 4, 4).sections },
    batch: { rows: 1, tokens: [4] },
  });
  for (const { label, outputs } of outcomes) {
    const bits = new Uint32Array((outputs.out as Float32Array).buffer);
    expect([...bits], label).toEqual([0x7fc00004, 0x7fc00004, 0x7fc00004, 0x7fc00004]);
  }
});

it('takes what was sampled, or guessed, in the slot of the row', async () => {
  const seed = freshSeed();
  const [tableRows, cols] = [11, 29];
  const packed = packers.f32!(randomNormal(seededRandom(seed), tableRows * cols), tableRows, cols);
  const sequences = [
    { slot: 3, position: 70, rows: 1, tokens: [SAMPLED_TOKEN] },
    { slot: 0, position: 5, rows: 3, tokens: [SAMPLED_TOKEN, DRAFTED_TOKEN, 9] },
    { slot: 2, position: 0, rows: 2, tokens: [4, DRAFTED_TOKEN] },
  ];
  const outcomes = await runVariants(variants, {
    resolve: () => formats.f32,
    record: (graph) => embed(graph, 9, new Weights(graph).matrix(['e'], [tableRows], cols)),
    // By slot.
    data: { sampled: Uint32Array.of(1, 2, 99, 99, 99, 3, 10, 99) },
    weights: { weight: packed.sections },
    batch: { sequences },
  });
  const values = reference([10, 1, 2, 9, 4, 3], packed.values, tableRows, cols);
  for (const outcome of outcomes) expectRows(outcome, 'out', { values, tolerance: () => 0 }, seed);
});
