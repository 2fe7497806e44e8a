/** @file out[r] = table[tokens[r]]; an id outside the table gives a row of NaN. */
export function embed(
  tokens: ArrayLike<number>,
  table: ArrayLike<number>,
  rows: number,
  cols: number,
): Float64Array {
  const out = new Float64Array(tokens.length * cols);
  for (let r = 0; r < tokens.length; r++) {
    for (let c = 0; c < cols; c++) {
      out[r * cols + c] = tokens[r]! < rows ? table[tokens[r]! * cols + c]! : Number.NaN;
    }
  }
  return out;
}
