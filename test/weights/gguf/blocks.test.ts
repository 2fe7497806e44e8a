import { expect, test } from 'vitest';
import { decodeRow } from '../../../src/weights/decode.ts';
import { type BlockRows, readBlockRows } from './block-fixture.ts';

const cases = readBlockRows().map((rows): [string, BlockRows] => [rows.type, rows]);

test('the fixture has every type', () => {
  expect(cases).toHaveLength(13);
});

test.each(cases)(
  '%s means bit for bit what gguf-py makes of it',
  (_, { format, rows, cols, sections, values }) => {
    for (let row = 0; row < rows; row++) {
      const views = format.sections.map(({ name, rowBytes }) => {
        const bytes = rowBytes(cols);
        return [name, new DataView(sections[name]!.buffer, row * bytes, bytes)];
      });
      const found = Float32Array.from(decodeRow(format, Object.fromEntries(views), cols)!);
      expect(found).toEqual(values.subarray(row * cols, (row + 1) * cols));
    }
  },
);

test.each(cases)('%s takes at most 3 %% more bytes than in a file', (_, { format }) => {
  const stored = {
    Q4_0: 18,
    Q4_1: 20,
    Q5_0: 22,
    Q5_1: 24,
    Q8_0: 34,
    Q2_K: 84,
    Q3_K: 110,
    Q4_K: 144,
    Q5_K: 176,
    Q6_K: 210,
    IQ4_NL: 18,
    IQ4_XS: 136,
    MXFP4: 17,
  }[format.name]!;
  // As long as rows of small models are.
  for (const cols of [1024, 1536, 4096]) {
    const bytes = format.sections.reduce((sum, { rowBytes }) => sum + rowBytes(cols), 0);
    expect(bytes / ((stored * cols) / format.storedValues), `${cols} columns`).toBeLessThan(1.03);
  }
});
