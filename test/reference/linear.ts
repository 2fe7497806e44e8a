/** @file y = W x (+ bias); gated products of neighbouring rows; times scale; (+ residual). With a norm, x is RMS-normalised first. */
import type { Activation } from '../../src/graph/activation.ts';
import { gate } from './gate.ts';
import { rmsNorm } from './rms-norm.ts';

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
  gate?: Activation | undefined;
  /** [rows, outputs] */
  residual?: ArrayLike<number>;
  scale?: number | undefined;
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
  const { scale = 1 } = p;
  const out = (p.gate ? gate(y, p.gate) : y).map((value) => scale * value);
  // An error of the gate grows by at most 1.13, the steepest slope of gelu (silu 1.1), times up; one of up by the activated gate.
  const sizes = p.gate ? out.map((_, i) => 2.13 * size[2 * i]! * size[2 * i + 1]!) : size;
  const magnitude = sizes.map((value) => Math.abs(scale) * value);
  for (let i = 0; p.residual && i < out.length; i++) {
    out[i]! += p.residual[i]!;
    magnitude[i]! += Math.abs(p.residual[i]!);
  }
  return { out, magnitude };
}
