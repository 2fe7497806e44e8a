// y[row, n] = sum_k weight[n, k] * x[row, k] for a few rows of x; flag norm: x is RMS-normalised on the way,
//   y[row, n] = (sum_k weight[n, k] * norm[k] * x[row, k]) / sqrt(sum_k x[row, k]^2 / cols + eps).
// Layout: a workgroup is num_teams teams of team_lanes lanes, with four rows of a matrix each. Lanes of a team stride over the
//   blocks of k, so that neighbours load neighbouring blocks. Each keeps num_rows * 4 sums (flag norm: then num_rows sums of
//   squares), which add_lanes adds up.
// Expects: lane_sums, add_lanes, lane_total (of team t: t * num_sums + s), bias_of, write_outputs; matrix_of(index) -> Matrix:
//   workgroups of matrix 0 come first; turn_of; matrix_rows; num_rows, cols, grid_width, num_sums; flag norm: eps.
const group_rows: u32 = 4u * num_teams;
const matrix_groups: u32 = (matrix_rows + group_rows - 1u) / group_rows;

@compute @workgroup_size(num_lanes)
fn main(at: Invocation, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let group = workgroup.x + workgroup.y * grid_width;
  let matrix = turn_of(group / matrix_groups);
  if (!matrix.exists) {
    return;
  }
  let team = at.lane / team_lanes;
  let row = at.lane % team_lanes;
  let n = group_rows * (group % matrix_groups) + 4u * team;
  add_lanes(lane_sums(matrix, n, row, team_lanes), at);
  if (row < num_rows && matrix.row + row < batch.rows && n < matrix_rows) {
    let s = team * num_sums + 4u * row;
    var y = vec4(lane_total(s), lane_total(s + 1u), lane_total(s + 2u), lane_total(s + 3u));
#if norm
    y *= inverseSqrt(lane_total(team * num_sums + 4u * num_rows + row) / f32(cols) + eps);
#endif
    let column = matrix.column + n;
    write_outputs(matrix.row + row, column, y + bias_of(column));
  }
}
