// matvec.wgsl with a subgroup for every four rows of a matrix: no barrier, no workgroup memory for sums.
// Flag staged: x is made ready once for a workgroup, normalised, instead of once for every four rows.
// WGSL does not say which lanes form a subgroup, nor how many have lanes that rest. So subgroups number themselves as they start,
//   and lanes by those that take part. There are at least num_lanes / subgroup_size subgroups: with that stride none of the
//   workgroup's `num_quads` groups of four rows is left out, though one may be computed twice, with the same bits.
// Expects: as matvec.wgsl, with num_lanes, num_quads, and quad_rounds: how many turns subgroups of any size need at most.
struct Invocation {
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_size) subgroup_size: u32,
}

const group_rows: u32 = 4u * num_quads;
const matrix_groups: u32 = (matrix_rows + group_rows - 1u) / group_rows;

var<workgroup> num_started: atomic<u32>;
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

fn sum_of_squares(row: u32) -> f32 {
  let num_waves = atomicLoad(&num_started);
  var sum = 0.0;
  for (var wave = 0u; wave < num_waves; wave++) {
    sum += squares[row * num_lanes + wave];
  }
  return sum;
}
#endif

@compute @workgroup_size(num_lanes)
fn main(at: Invocation, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let group = workgroup.x + workgroup.y * grid_width;
  let matrix = matrix_of(group / matrix_groups);
  if (!matrix.exists) {
    return;
  }
  let lane = subgroupExclusiveAdd(1u);
  let lanes = subgroupAdd(1u);
  var wave = 0u;
  if (lane == 0u) {
    wave = atomicAdd(&num_started, 1u);
  }
  wave = subgroupBroadcastFirst(wave);
#if staged
  stage_x(matrix, at.lane, wave, lane == 0u);
#endif
  let num_waves = max(1u, num_lanes / at.subgroup_size);
  for (var round = 0u; round < quad_rounds; round++) {
    let quad = wave + round * num_waves;
    let n = group_rows * (group % matrix_groups) + 4u * quad;
    let counts = quad < num_quads && n < matrix_rows;
    var sums = lane_sums(matrix, n, select(weight_row_blocks, lane, counts), lanes);
    for (var s = 0u; s < num_sums; s++) {
      sums[s] = subgroupAdd(sums[s]);
    }
    // Any lane has the sums; rows are spread over lanes.
    for (var row = 0u; row < num_rows; row++) {
      if (counts && row % lanes == lane && matrix.row + row < step.rows) {
        var y = vec4(sums[4u * row], sums[4u * row + 1u], sums[4u * row + 2u], sums[4u * row + 3u]);
#if staged
        y *= inverseSqrt(sum_of_squares(row) / f32(cols) + eps);
#elif norm
        y *= inverseSqrt(sums[4u * num_rows + row] / f32(cols) + eps);
#endif
        let column = matrix.column + n;
        write_outputs(matrix.row + row, column, y + bias_of(column));
      }
    }
  }
}
