/** @file out = x * sigmoid(gate), one gate for each row of `cols` values; sigmoid(g) = 1 / (1 + exp(-g)). */
export function sigmoidGate(x: ArrayLike<number>, gate: ArrayLike<number>, cols: number): Float64Array {
  return Float64Array.from(
    { length: x.length },
    (_, i) => x[i]! / (1 + Math.exp(-gate[Math.floor(i / cols)]!)),
  );
}
