/** The host reads packed rows as the reference of the formats says: what the self-test measures kernels by. */
import { expect, it } from 'vitest';
import { decodeRow } from '../../src/weights/decode.ts';
import { formats } from '../../src/weights/formats.ts';
import { type IntLayout, intFormat } from '../../src/weights/int-format.ts';
import { ints, packers } from '../reference/formats.ts';
import { seededRandom } from '../seeded-random.ts';

const seed = Math.floor(Math.random() * 2 ** 32);
const LAYOUTS: readonly IntLayout[] = [
  { bits: 4, groupSize: 32, words: 'f16-zero' },
  { bits: 4, groupSize: 64, words: 'bf16-bias' },
  { bits: 8, groupSize: undefined, words: 'f32' },
  { bits: 8, groupSize: 32, words: 'f16-bias' },
  { bits: 8, groupSize: 128, words: 'bf16-zero' },
  { bits: 4, groupSize: 32, words: 'f16-zero', anyGroup: true },
  { bits: 8, groupSize: 32, words: 'f16-bias', anyGroup: true },
];
const CASES = [
  ...Object.entries(formats).map(([name, format]) => ({ format, pack: packers[name]! })),
  ...LAYOUTS.map((layout) => ({ format: intFormat(layout), pack: ints(layout) })),
];

it.for(CASES)('reads rows of $format.name on the host', ({ format, pack }) => {
  const random = seededRandom(seed);
  const [rows, cols] = [3, 1 + Math.floor(random() * 300)];
  const { sections, values } = pack(
    Float32Array.from({ length: rows * cols }, () => random() - 0.5),
    rows,
    cols,
  );
  for (let row = 0; row < rows; row++) {
    const views = format.sections.map(({ name, rowBytes }) => {
      const bytes = sections[name]!;
      return [name, new DataView(bytes.buffer, bytes.byteOffset + row * rowBytes(cols), rowBytes(cols))];
    });
    const found = decodeRow(format, Object.fromEntries(views), cols)!;
    for (let i = 0; i < cols; i++) {
      const wanted = values[row * cols + i]!;
      // The reference rounds as float32 does.
      expect(Math.abs(found[i]! - wanted), `seed ${seed}, row ${row}, column ${i} of ${cols}`).toBeLessThan(
        1e-7 + 1e-6 * Math.abs(wanted),
      );
    }
  }
});

it('knows nothing of a format that it was not made for', () => {
  const view = new DataView(new ArrayBuffer(16));
  expect(decodeRow({ ...formats.f32, name: 'other' }, { data: view, scale: view }, 4)).toBeUndefined();
});
