/** @file y = W x (+ bias); swiglu of neighbouring rows; (+ residual). With a norm, x is RMS-normalised first. */
import { rmsNorm } from './rms-norm.ts';
import { swiglu } from './swiglu.ts';

export interface LinearProblem {
  rows: number;
  cols: number;
  weightRows: number;
  /** [rows, cols] */
  x: ArrayLike<number>;
  /** [weightRows, cols] */
  weight: ArrayLike<number>;
  bias?: ArrayLike<number>;
  norm?: ArrayLike<number>;
  eps?: number;
  isSwiglu?: boolean;
  /** [rows, outputs] */
  residual?: ArrayLike<number>;
}

/** [rows, outputs], and for each output the sum of the magnitudes that went into it: what rounding errors are measured by. */
export function linear(p: LinearProblem): { out: Float64Array; magnitude: Float64Array } {
  const x = p.norm ? rmsNorm(p.x, p.norm, p.rows, p.cols, p.eps!) : p.x;
  const y = new Float64Array(p.rows * p.weightRows);
  const size = new Float64Array(p.rows * p.weightRows);
  for (let r = 0; r < p.rows; r++) {
    for (let n = 0; n < p.weightRows; n++) {
      const at = r * p.weightRows + n;
      y[at] = p.bias?.[n] ?? 0;
      size[at] = Math.abs(y[at]!);
      for (let k = 0; k < p.cols; k++) {
        const product = p.weight[n * p.cols + k]! * x[r * p.cols + k]!;
        y[at]! += product;
        size[at]! += Math.abs(product);
      }
    }
  }
  const out = p.isSwiglu ? swiglu(y) : y;
  // An error of the gate grows by at most 1.1, the steepest slope of silu, times up; an error of up by silu(gate).
  const magnitude = p.isSwiglu ? out.map((_, i) => 2.1 * size[2 * i]! * size[2 * i + 1]!) : size;
  for (let i = 0; p.residual && i < out.length; i++) {
    out[i]! += p.residual[i]!;
    magnitude[i]! += Math.abs(p.residual[i]!);
  }
  return { out, magnitude };
}
