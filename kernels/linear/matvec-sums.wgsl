// A lane's share of four weight rows times a few rows of x: sums[4 * row + i] = sum_k weight[n + i, k] * x[row, k] over every
//   num_lanes-th block of k from block `lane` on. Flag norm: x is multiplied by norm on the way, and the sums of its squares
//   follow those of products.
// Expects: load_block; matrix_rows; x: array<vec4<f32>>, x_stride (in vec4s), num_rows, cols, num_sums; flag norm: norm:
//   array<vec4<f32>>. flag ragged: cols is not a multiple of the block. flag staged: x_tile has x instead, ready to multiply.
fn x_value(matrix: Matrix, row: u32, k4: u32) -> vec4<f32> {
  var value = x[matrix.x_at + row * x_stride + k4];
#if ragged
  value = select(vec4(0.0), value, vec4(4u * k4) + vec4(0u, 1u, 2u, 3u) < vec4(cols));
#endif
  return value;
}

fn lane_sums(matrix: Matrix, n: u32, lane: u32, lanes: u32) -> array<f32, num_sums> {
  // Rows behind the last are the last once more: cheaper than a branch.
  let rows = vec4(matrix.weight_row) + min(vec4(n) + vec4(0u, 1u, 2u, 3u), vec4(matrix_rows - 1u));
  var sums: array<f32, num_sums>;
  for (var block = lane; block < weight_row_blocks; block += lanes) {
    let w0 = load_block(rows.x, block);
    let w1 = load_block(rows.y, block);
    let w2 = load_block(rows.z, block);
    let w3 = load_block(rows.w, block);
    for (var j = 0u; j < block_vec4s; j++) {
      let k4 = block * block_vec4s + j;
      for (var row = 0u; row < num_rows; row++) {
#if staged
        let value = x_tile[row * row_vec4s + k4];
#else
        var value = x_value(matrix, row, k4);
#if norm
        sums[4u * num_rows + row] += dot(value, value);
        value *= norm[k4];
#endif
#endif
        sums[4u * row] += dot(w0[j], value);
        sums[4u * row + 1u] += dot(w1[j], value);
        sums[4u * row + 2u] += dot(w2[j], value);
        sums[4u * row + 3u] += dot(w3[j], value);
      }
    }
  }
  return sums;
}
