// matrix_of for a weight that is one matrix: the bound part, which all rows of x go through.
// Expects: part_begin (a multiple of 4), x_offset.
fn matrix_of(index: u32) -> Matrix {
  return Matrix(0u, part_begin, 0u, x_offset, index == 0u);
}
