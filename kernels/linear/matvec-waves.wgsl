// matvec.wgsl with a subgroup for every four rows of a matrix: no barrier, no workgroup memory for sums.
// Flag staged: x is made ready once for a workgroup, normalised, instead of once for every four rows.
// Expects: as matvec.wgsl, with num_lanes, num_quads, and quad_rounds: how many turns subgroups of any size need at most; wave_of.
const group_rows: u32 = 4u * num_quads;
const matrix_groups: u32 = (matrix_rows + group_rows - 1u) / group_rows;

#if staged
const row_vec4s: u32 = weight_row_blocks * block_vec4s;
var<workgroup> x_tile: array<vec4<f32>, num_rows * row_vec4s>;
// By row and subgroup.
var<workgroup> squares: array<f32, num_rows * num_lanes>;

// All lanes together: x_tile[row] = norm * x[row], and the sums of squares of x.
fn stage_x(matrix: Matrix, lane: u32, wave: u32, is_first: bool) {
  for (var row = 0u; row < num_rows; row++) {
    var square = 0.0;
    for (var k4 = lane; k4 < row_vec4s; k4 += num_lanes) {
      let value = x_value(matrix, row, k4);
      square += dot(value, value);
      x_tile[row * row_vec4s + k4] = value * norm[k4];
    }
    square = subgroupAdd(square);
    if (is_first) {
      squares[row * num_lanes + wave] = square;
    }
  }
  workgroupBarrier();
}

fn sum_of_squares(row: u32, num_waves: u32) -> f32 {
  var sum = 0.0;
  for (var wave = 0u; wave < num_waves; wave++) {
    sum += squares[row * num_lanes + wave];
  }
  return sum;
}
#endif

@compute @workgroup_size(num_lanes)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let group = workgroup.x + workgroup.y * grid_width;
  let matrix = matrix_of(group / matrix_groups);
  if (!matrix.exists) {
    return;
  }
  let wave = wave_of(index);
  let num_waves = num_lanes / wave.lanes;
#if staged
  stage_x(matrix, index, wave.index, wave.lane == 0u);
#endif
  for (var round = 0u; round < quad_rounds; round++) {
    let quad = wave.index + round * num_waves;
    let n = group_rows * (group % matrix_groups) + 4u * quad;
    let counts = quad < num_quads && n < matrix_rows;
    var sums = lane_sums(matrix, n, select(weight_row_blocks, wave.lane, counts), wave.lanes);
    for (var s = 0u; s < num_sums; s++) {
      sums[s] = subgroupAdd(sums[s]);
    }
    // Any lane has the sums; rows are spread over lanes.
    for (var row = 0u; row < num_rows; row++) {
      if (counts && row % wave.lanes == wave.lane && matrix.row + row < step.rows) {
        var y = vec4(sums[4u * row], sums[4u * row + 1u], sums[4u * row + 2u], sums[4u * row + 3u]);
#if staged
        y *= inverseSqrt(sum_of_squares(row, num_waves) / f32(cols) + eps);
#elif norm
        y *= inverseSqrt(sums[4u * num_rows + row] / f32(cols) + eps);
#endif
        let column = matrix.column + n;
        write_outputs(matrix.row + row, column, y + bias_of(column));
      }
    }
  }
}
