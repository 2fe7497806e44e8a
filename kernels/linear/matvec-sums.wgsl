// A lane's share of four weight rows times a few rows of x: sums[4 * row + i] = sum_k weight[n + i, k] * x[row, k] over some
//   blocks of k. Flag norm: x is multiplied by norm on the way, and the sums of its squares follow those of products (with flag
//   staged neither: staged_x is multiplied already).
// Expects: load_block; matrix_rows; x: array<vec4<f32>>, x_stride (in vec4s), num_rows, row_turns, cols, num_sums; flag norm: norm:
//   array<vec4<f32>>. flag ragged: cols is not a multiple of the block. flag staged: staged_x has some of x.
fn x_value(matrix: Matrix, row: u32, k4: u32) -> vec4<f32> {
  var value = x[matrix.x_at + row * x_stride + k4];
#if ragged
  value = select(vec4(0.0), value, vec4(4u * k4) + vec4(0u, 1u, 2u, 3u) < vec4(cols));
#endif
  return value;
}

// What a workgroup takes of a matrix: where more than num_rows rows of x go through it, some of them.
fn turn_of(index: u32) -> Matrix {
  var matrix = matrix_of(index / row_turns);
  let first = index % row_turns * num_rows;
  matrix.row += first;
  matrix.x_at += first * x_stride;
  matrix.exists = matrix.exists && (row_turns == 1u || matrix.row < batch.rows);
  return matrix;
}

// Adds every lanes-th block from `first` on, up to `end`. The same order and the same sums whether x is staged or not.
fn add_blocks(matrix: Matrix, n: u32, first: u32, end: u32, lanes: u32, sums: ptr<function, array<f32, num_sums>>) {
  // Rows after the last are the last once more: cheaper than a branch.
  let rows = vec4(matrix.weight_row) + min(vec4(n) + vec4(0u, 1u, 2u, 3u), vec4(matrix_rows - 1u));
  for (var block = first; block < end; block += lanes) {
    let w0 = load_block(rows.x, block);
    let w1 = load_block(rows.y, block);
    let w2 = load_block(rows.z, block);
    let w3 = load_block(rows.w, block);
    for (var j = 0u; j < block_vec4s; j++) {
      let k4 = block * block_vec4s + j;
      for (var row = 0u; row < num_rows; row++) {
#if staged
        let value = staged_x(row, k4);
#else
        var value = x_value(matrix, row, k4);
#if norm
        (*sums)[4u * num_rows + row] += dot(value, value);
        value *= norm[k4];
#endif
#endif
        (*sums)[4u * row] += dot(w0[j], value);
        (*sums)[4u * row + 1u] += dot(w1[j], value);
        (*sums)[4u * row + 2u] += dot(w2[j], value);
        (*sums)[4u * row + 3u] += dot(w3[j], value);
      }
    }
  }
}

// Over all blocks, from block `lane` on.
fn lane_sums(matrix: Matrix, n: u32, lane: u32, lanes: u32) -> array<f32, num_sums> {
  var sums: array<f32, num_sums>;
  add_blocks(matrix, n, lane, weight_row_blocks, lanes, &sums);
  return sums;
}
