/** Integers of every width as MLX packs them: its own words, and the values that it reads in them. */
import { expect, test } from 'vitest';
import type { TensorEntry } from '../../src/weights/checkpoint.ts';
import * as quantised from '../../src/weights/quantised.ts';
import { findStored } from '../../src/weights/stored.ts';
import reference from '../fixtures/mlx-words.json';
import { wantedWeight } from './wanted-weight.ts';

test.each(reference.cases)('$bits bits', ({ bits, words, codes }) => {
  const [rows, cols] = [codes.length, codes[0]!.length];
  const entry = (name: string, dtype: TensorEntry['dtype'], shape: number[]): [string, TensorEntry] => [
    name,
    { name, dtype, shape, begin: 0, end: 0, file: 'x' },
  ];
  const groups = cols / reference.group_size;
  const find = findStored({
    config: { quantization: { bits, group_size: reference.group_size } },
    quantised,
    tensors: new Map([
      entry('x.weight', 'U32', [rows, words[0]!.length]),
      entry('x.scales', 'BF16', [rows, groups]),
      entry('x.biases', 'BF16', [rows, groups]),
    ]),
  });
  const { format, pieces } = find(wantedWeight(['x.weight'], [[rows, cols]]), 0);
  const [data] = pieces;
  if (data?.lies !== 'rows') throw new Error('the values are not stored by rows');
  const rowBytes = format.sections[0]!.rowBytes(cols);
  const stored = new Uint8Array(Uint32Array.from(words.flat()).buffer);
  const packed = data.pack(stored, rows, rowBytes, format);
  const perByte = bits > 4 ? 1 : 2;
  const found = codes.map((row, r) =>
    row.map(
      (_, c) =>
        (packed[r * rowBytes + Math.floor(c / perByte)]! >> (4 * (c % perByte))) & (bits > 4 ? 255 : 15),
    ),
  );
  expect(found).toEqual(codes);
});
