/**
 * @file The functions that a gate goes through in a gated product, a closed table: their names here and in config.json, and
 * their values in float64. The WGSL of each is in kernels/lib/.
 */

/**
 * silu: x / (1 + exp(-x)). gelu: x / 2 * (1 + erf(x / sqrt(2))). gelu_tanh: its approximation
 * x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))).
 */
export type Activation = 'silu' | 'gelu' | 'gelu_tanh';

/** What `hidden_act` of config.json means. */
export const HIDDEN_ACTS: Readonly<Record<string, Activation>> = {
  silu: 'silu',
  swish: 'silu',
  gelu: 'gelu',
  gelu_new: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
};

/** The same in numbers; |activate(x)| <= |x|, and no slope is steeper than 1.13. */
export const activate: Readonly<Record<Activation, (x: number) => number>> = {
  silu: (x) => x / (1 + Math.exp(-x)),
  gelu: (x) => x * (x < 0 ? halfErfc(-x) : 1 - halfErfc(x)),
  gelu_tanh: (x) => x / (1 + Math.exp(-2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
};

/** erfc(x / sqrt(2)) / 2 for x >= 0, to 1.2e-7 of it: Numerical Recipes, erfcc. */
function halfErfc(x: number): number {
  const z = x / Math.SQRT2;
  const t = 1 / (1 + z / 2);
  const power = ERFC.reduceRight((sum, factor) => sum * t + factor, 0) - z * z;
  return (t * Math.exp(power)) / 2;
}

/** Of 1, t, t^2 and so on. */
const ERFC = [
  -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587,
  -0.82215223, 0.17087277,
];

/** A gated product in plans. */
export const gatedName = (activation: Activation): string =>
  activation === 'silu' ? 'swiglu' : `gate ${activation}`;
