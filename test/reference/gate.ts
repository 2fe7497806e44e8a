/** @file out[n] = activate(x[2n]) * x[2n + 1]; the activations as they are defined. */
import type { Activation } from '../../src/graph/activation.ts';

export const activations: Readonly<Record<Activation, (x: number) => number>> = {
  // x / (1 + exp(-x))
  silu: (x) => x / (1 + Math.exp(-x)),
  // x / 2 * (1 + erf(x / sqrt(2)))
  gelu: (x) => (x / 2) * (1 + erf(x / Math.SQRT2)),
  // x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))
  gelu_tanh: (x) => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
};

export function gate(x: ArrayLike<number>, activation: Activation): Float64Array {
  return Float64Array.from({ length: x.length / 2 }, (_, n) => {
    return activations[activation](x[2 * n]!) * x[2 * n + 1]!;
  });
}

/** erf(z) = 2 / sqrt(pi) exp(-z^2) sum_n 2^n z^(2n + 1) / (1 * 3 * ... * (2n + 1)): terms of one sign, to some 1e-15. */
function erf(z: number): number {
  if (Math.abs(z) > 6) return Math.sign(z);
  let [term, sum] = [z, z];
  for (let n = 1; n < 200; n++) {
    term *= (2 * z * z) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-z * z) * sum;
}
