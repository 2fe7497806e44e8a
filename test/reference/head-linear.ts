/** @file out[r, h * n + j] = W[h, firstRow + j] . x[r, h]: a matrix of its own for each head. */
import { linear } from './linear.ts';

export interface HeadLinearProblem {
  rows: number;
  heads: number;
  cols: number;
  /** Rows of `weight` for each head, of which n from firstRow on are used. */
  unitRows: number;
  firstRow: number;
  n: number;
  /** [rows, heads, cols] */
  x: ArrayLike<number>;
  /** [heads, unitRows, cols] */
  weight: Float64Array;
}

/** [rows, heads * n], and for each output the sum of the magnitudes that went into it. */
export function headLinear(p: HeadLinearProblem): { out: Float64Array; magnitude: Float64Array } {
  const { rows, heads, cols, n } = p;
  const x = Float64Array.from(p.x);
  const out = new Float64Array(rows * heads * n);
  const magnitude = new Float64Array(out.length);
  for (let r = 0; r < rows; r++) {
    for (let h = 0; h < heads; h++) {
      const [row, at] = [h * p.unitRows + p.firstRow, r * heads + h];
      const y = linear({
        rows: 1,
        cols,
        weightRows: n,
        x: x.subarray(at * cols, (at + 1) * cols),
        weight: p.weight.subarray(row * cols, (row + n) * cols),
      });
      out.set(y.out, at * n);
      magnitude.set(y.magnitude, at * n);
    }
  }
  return { out, magnitude };
}
