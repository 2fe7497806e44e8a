/** @file The plain definition of `prepareHeads` in f64: RMS norm of a head, then its rotation. */
import { rotateHead } from './rope.ts';

/** x [rows, heads, headDim] -> rope(norm(x)); `norm` has headDim weights, or is absent. */
export function prepareHeads(
  x: ArrayLike<number>,
  angles: ArrayLike<number>,
  shape: { rows: number; heads: number; headDim: number; half: number },
  pairing: 'half' | 'interleaved',
  norm?: { weight: ArrayLike<number>; eps: number },
): number[] {
  const { rows, heads, headDim, half } = shape;
  const [values, table] = [Array.from(x), Array.from(angles)];
  const out: number[] = [];
  for (let r = 0; r < rows; r++) {
    const row = table.slice(r * 2 * half, (r + 1) * 2 * half);
    for (let h = 0; h < heads; h++) {
      const begin = (r * heads + h) * headDim;
      const head = values.slice(begin, begin + headDim);
      out.push(...rotateHead(norm ? normalise(head, norm) : head, row, pairing));
    }
  }
  return out;
}

function normalise(x: number[], { weight, eps }: { weight: ArrayLike<number>; eps: number }): number[] {
  let squares = 0;
  for (const value of x) squares += value * value;
  const scale = 1 / Math.sqrt(squares / x.length + eps);
  return x.map((value, i) => value * scale * weight[i]!);
}
