/** @file out[r, c] = residual[r, c] + sum_s scales[r, s] x[r, s, c], over rows of k slots of n values. */
export function combineExperts(
  x: ArrayLike<number>,
  scales: ArrayLike<number>,
  residual: ArrayLike<number> | undefined,
  { rows, k, n }: { rows: number; k: number; n: number },
): Float64Array {
  const out = new Float64Array(rows * n);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < n; c++) {
      let sum = residual ? residual[r * n + c]! : 0;
      for (let s = 0; s < k; s++) sum += scales[r * k + s]! * x[(r * k + s) * n + c]!;
      out[r * n + c] = sum;
    }
  }
  return out;
}
