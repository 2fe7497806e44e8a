/** @file out = x / sqrt(mean(x^2) + eps) * norm, over rows of `cols` values. */
export function rmsNorm(
  x: ArrayLike<number>,
  norm: ArrayLike<number>,
  rows: number,
  cols: number,
  eps: number,
): Float64Array {
  const out = new Float64Array(rows * cols);
  for (let r = 0; r < rows; r++) {
    let squares = 0;
    for (let c = 0; c < cols; c++) squares += x[r * cols + c]! ** 2;
    for (let c = 0; c < cols; c++)
      out[r * cols + c] = (x[r * cols + c]! / Math.sqrt(squares / cols + eps)) * norm[c]!;
  }
  return out;
}
