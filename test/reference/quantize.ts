/**
 * @file A group of values as integers with scale and bias in bfloat16, in float64: plain rounding over the whole range, and the
 * search of kernels/loading/encode-ints.wgsl. Gives the sum of squared errors; which of two equally good integers a kernel takes is its own affair.
 */
import { bf16Bits, bf16Value } from './formats.ts';

const CUT = 0.04;

interface Tried {
  error: number;
  /** The integers. */
  q: number[];
}

function tryScale(values: readonly number[], scale: number, bias: number, top: number): Tried {
  const s = bf16Value(bf16Bits(scale));
  const b = bf16Value(bf16Bits(bias));
  const q = values.map((v) => (s > 0 ? Math.max(0, Math.min(top, Math.round((v - b) / s))) : 0));
  return { q, error: values.reduce((sum, v, i) => sum + (q[i]! * s + b - v) ** 2, 0) };
}

/** Sums of squared errors of a group: by rounding to nearest over its range, and by the search. */
export function groupErrors(
  values: readonly number[],
  bits: number,
  candidates: number,
): { rounded: number; searched: number } {
  const top = 2 ** bits - 1;
  const low = Math.min(...values);
  const range = Math.max(...values) - low;
  const errors: number[] = [];
  for (let i = 0; i < candidates; i++) {
    const cut = range * CUT * i;
    const { q, error } = tryScale(values, (range - cut) / top, low + cut / 2, top);
    errors.push(error);
    const mean = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0) / x.length;
    const [meanQ, meanV] = [mean(q), mean(values)];
    const spread = mean(q.map((x) => (x - meanQ) ** 2));
    const scale = mean(q.map((x, j) => (x - meanQ) * (values[j]! - meanV))) / spread;
    if (spread > 0 && scale > 0) errors.push(tryScale(values, scale, meanV - scale * meanQ, top).error);
  }
  return { rounded: errors[0]!, searched: Math.min(...errors) };
}
