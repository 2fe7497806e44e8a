// What a workgroup multiplies: a matrix, some of the bound weight rows, with the rows of x that go through it.
struct Matrix {
  // Its first row in the bound part of the weight, and the output column (before a gate) that this row gives.
  weight_row: u32,
  column: u32,
  // The first row of x that goes through it, and the vec4 of x at which that row begins.
  row: u32,
  x_at: u32,
  // False: there is nothing to do.
  exists: bool,
}
