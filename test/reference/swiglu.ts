/** @file out[n] = silu(x[2n]) * x[2n + 1], silu(g) = g / (1 + exp(-g)). */
export function swiglu(x: ArrayLike<number>): Float64Array {
  return Float64Array.from({ length: x.length / 2 }, (_, n) => {
    const [gate, up] = [x[2 * n]!, x[2 * n + 1]!];
    return (gate / (1 + Math.exp(-gate))) * up;
  });
}
