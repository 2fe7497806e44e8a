// matrix_of for heads: the rows first_row on of each head of the bound part; every row of x goes through all heads, by the
// columns of that head.
// Expects: part_head (the first head of the part), part_heads, unit_rows, first_row; x_offset, x_head_vec4s and out_head_columns: from one
// head to the next.
fn matrix_of(index: u32) -> Matrix {
  let head = part_head + index;
  let x_at = x_offset + head * x_head_vec4s;
  return Matrix(index * unit_rows + first_row, head * out_head_columns, 0u, x_at, index < part_heads);
}
