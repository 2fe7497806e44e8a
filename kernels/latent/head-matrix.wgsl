// matrix_of for heads: the rows first_row on of each head of the bound part; every row of x goes through all heads, by the
// columns of that head.
// Expects: part_head (the first head of the part), part_heads, unit_rows, first_row, matrix_rows; x_offset, cols.
fn matrix_of(index: u32) -> Matrix {
  let head = part_head + index;
  return Matrix(index * unit_rows + first_row, head * matrix_rows, 0u, x_offset + head * (cols / 4u), index < part_heads);
}
