/** @file Reads a golden fixture folder and compares tensors with it. */

import type { Source } from '../../src/sources/source.ts';
import { parseHeader, readHeaderLength } from '../../src/weights/safetensors.ts';

export interface GoldenTensor {
  shape: number[];
  data: Float32Array | Int32Array;
}

/** All tensors of `golden.safetensors`. */
export async function readGolden(source: Source): Promise<Map<string, GoldenTensor>> {
  const file = await source.readFile('golden.safetensors');
  if (!file) throw new Error(`${source.label} has no golden.safetensors`);
  const length = readHeaderLength(file, file.length, 'golden.safetensors');
  const tensors = parseHeader(file.subarray(8, 8 + length), file.length, 'golden.safetensors');
  return new Map(
    tensors.map(({ name, shape, dtype, begin, end }) => {
      const bytes = file.slice(begin, end).buffer;
      if (dtype !== 'F32' && dtype !== 'I32') throw new Error(`${name} is ${dtype}`);
      return [name, { shape, data: dtype === 'F32' ? new Float32Array(bytes) : new Int32Array(bytes) }];
    }),
  );
}

export interface Difference {
  maxAbs: number;
  /** rms(error) / rms(wanted). */
  relativeRms: number;
}

export const NO_DIFFERENCE: Difference = { maxAbs: 0, relativeRms: 0 };

/** A NaN or a missing value makes the difference infinite. */
export function difference(found: ArrayLike<number>, wanted: ArrayLike<number>): Difference {
  let [maxAbs, error, square] = [0, 0, 0];
  for (let i = 0; i < wanted.length; i++) {
    const d = Math.abs((found[i] ?? Number.NaN) - wanted[i]!);
    if (!(d < Number.POSITIVE_INFINITY))
      return { maxAbs: Number.POSITIVE_INFINITY, relativeRms: Number.POSITIVE_INFINITY };
    maxAbs = Math.max(maxAbs, d);
    error += d * d;
    square += wanted[i]! ** 2;
  }
  return { maxAbs, relativeRms: Math.sqrt(error / square) };
}

export const worst = (a: Difference, b: Difference): Difference => ({
  maxAbs: Math.max(a.maxAbs, b.maxAbs),
  relativeRms: Math.max(a.relativeRms, b.relativeRms),
});

/** Rows of a dense [n, cols] array. */
export function pickRows(data: Float32Array, cols: number, rows: ArrayLike<number>): Float32Array {
  const picked = new Float32Array(rows.length * cols);
  Array.from(rows).forEach((row, i) => {
    picked.set(data.subarray(row * cols, (row + 1) * cols), i * cols);
  });
  return picked;
}
