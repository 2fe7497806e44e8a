/** Every float8 that there is, as the `fp8` fragment gives it to a kernel. */
import { expect, it } from 'vitest';
import { embed as variants } from '../../kernels/embed/embed.ts';
import { embed } from '../../src/graph/ops/embed.ts';
import { Weights } from '../../src/graph/weight.ts';
import { formats } from '../../src/weights/formats.ts';
import { e4m3Value } from '../reference/formats.ts';
import { freshSeed, runVariants, seededRandom } from './harness.ts';

it('gives each of the 256 codes its value times the scale of its row and column, to the last bit', async () => {
  const seed = freshSeed();
  const random = seededRandom(seed);
  const [rows, cols] = [3, 5 * 128 + 37];
  const [dataSection, scaleSection] = formats.fp8.sections as [
    (typeof formats.fp8.sections)[0],
    (typeof formats.fp8.sections)[0],
  ];
  const dataBytes = dataSection.rowBytes(cols);
  const rowScales = scaleSection.rowBytes(cols) / 4;
  // The first row without scaling, the others over the range of published scales.
  const scales = Float32Array.from({ length: rows * rowScales }, (_, i) =>
    i < rowScales ? 1 : (0.5 + random()) * 10 ** (-6 * random()),
  );
  const data = new Uint8Array(rows * dataBytes);
  for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) data[r * dataBytes + c] = (c + 101 * r) % 256;

  const outcomes = await runVariants(variants, {
    resolve: () => formats.fp8,
    record: (graph) => embed(graph, rows, new Weights(graph).matrix(['m'], [rows], cols)),
    data: {},
    weights: { weight: { data, scale: new Uint8Array(scales.buffer) } },
    batch: { rows, tokens: Array.from({ length: rows }, (_, r) => r) },
  });
  for (const { label, outputs } of outcomes) {
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++) {
        const code = data[r * dataBytes + c]!;
        const wanted = Math.fround(e4m3Value(code) * scales[r * rowScales + Math.floor(c / 128)]!);
        // toBe tells -0 from 0, and NaN is NaN.
        expect(outputs.out![r * cols + c], `${label}, seed ${seed}: code ${code} at [${r}, ${c}]`).toBe(
          wanted,
        );
      }
    }
  }
});
