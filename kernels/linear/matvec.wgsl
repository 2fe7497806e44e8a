// y[row, n] = sum_k weight[n, k] * x[row, k] for a few rows of x; flag norm: x is RMS-normalised on the way,
//   y[row, n] = (sum_k weight[n, k] * norm[k] * x[row, k]) / sqrt(sum_k x[row, k]^2 / cols + eps).
// Layout: one workgroup per four rows of a matrix; its lanes stride over the blocks of k, so that neighbours load
//   neighbouring blocks. Each lane keeps num_rows * 4 sums (flag norm: then num_rows sums of squares), which add_lanes adds up.
// Expects: load_block, add_lanes, lane_total, bias_of, write_outputs; matrix_of(index) -> Matrix: workgroups of matrix 0 come
//   first; matrix_rows; x: array<vec4<f32>>, x_stride (in vec4s), num_rows, cols, grid_width, num_sums; flag norm:
//   norm: array<vec4<f32>>, eps. flag ragged: cols is not a multiple of the block.
const matrix_groups: u32 = (matrix_rows + 3u) / 4u;

@compute @workgroup_size(num_lanes)
fn main(at: Invocation, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let group = workgroup.x + workgroup.y * grid_width;
  let matrix = matrix_of(group / matrix_groups);
  if (!matrix.exists) {
    return;
  }
  let n = 4u * (group % matrix_groups);
  // Rows behind the last are the last once more: cheaper than a branch.
  let rows = vec4(matrix.weight_row) + min(vec4(n) + vec4(0u, 1u, 2u, 3u), vec4(matrix_rows - 1u));
  var sums: array<f32, num_sums>;
  for (var block = at.lane; block < weight_row_blocks; block += num_lanes) {
    let w0 = load_block(rows.x, block);
    let w1 = load_block(rows.y, block);
    let w2 = load_block(rows.z, block);
    let w3 = load_block(rows.w, block);
    for (var j = 0u; j < block_vec4s; j++) {
      let k4 = block * block_vec4s + j;
      for (var row = 0u; row < num_rows; row++) {
        var value = x[matrix.x_at + row * x_stride + k4];
#if ragged
        value = select(vec4(0.0), value, vec4(4u * k4) + vec4(0u, 1u, 2u, 3u) < vec4(cols));
#endif
#if norm
        sums[4u * num_rows + row] += dot(value, value);
        value *= norm[k4];
#endif
        sums[4u * row] += dot(w0[j], value);
        sums[4u * row + 1u] += dot(w1[j], value);
        sums[4u * row + 2u] += dot(w2[j], value);
        sums[4u * row + 3u] += dot(w3[j], value);
      }
    }
  }
  add_lanes(sums, at);
  let row = at.lane;
  if (row < num_rows && matrix.row + row < step.rows) {
    let s = 4u * row;
    var y = vec4(lane_total(s), lane_total(s + 1u), lane_total(s + 2u), lane_total(s + 3u));
#if norm
    y *= inverseSqrt(lane_total(4u * num_rows + row) / f32(cols) + eps);
#endif
    let column = matrix.column + n;
    write_outputs(matrix.row + row, column, y + bias_of(column));
  }
}
