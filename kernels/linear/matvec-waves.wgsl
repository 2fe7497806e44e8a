// matvec.wgsl with a subgroup for every four rows of a matrix: no workgroup memory for sums.
// Flag staged: x, times the norm, comes to workgroup memory in chunks of chunk_vec4s, once for all subgroups of a workgroup: with several
// rows of x their loads would cost more than those of the weights. The sums are the same, bit for bit.
// Expects: as matvec.wgsl, with num_lanes, num_quads, and quad_rounds: how many turns subgroups of any size need at most; wave_of; flag
// staged: chunk_vec4s (a multiple of block_vec4s and of 8).
const group_rows: u32 = 4u * num_quads;
const matrix_groups: u32 = (matrix_rows + group_rows - 1u) / group_rows;
#if staged
const row_vec4s: u32 = weight_row_blocks * block_vec4s;

var<workgroup> chunk: array<vec4<f32>, num_rows * chunk_vec4s>; // [row][k4 of the chunk]

// Neighbouring lanes read vec4s that lie a block apart: this keeps them off each other's banks.
fn chunk_at(row: u32, k4: u32) -> u32 {
  return row * chunk_vec4s + ((k4 ^ (k4 / 8u % 8u)) % chunk_vec4s);
}

fn staged_x(row: u32, k4: u32) -> vec4<f32> {
  return chunk[chunk_at(row, k4)];
}

// All lanes together: x, times norm.
fn stage(matrix: Matrix, first: u32, lane: u32) {
  let count = min(chunk_vec4s, row_vec4s - first);
  workgroupBarrier();
  for (var row = 0u; row < num_rows; row++) {
    for (var i = lane; i < count; i += num_lanes) {
      var value = x_value(matrix, row, first + i);
#if norm
      value *= norm[first + i];
#endif
      chunk[chunk_at(row, first + i)] = value;
    }
  }
  workgroupBarrier();
}
#if norm

var<workgroup> squares: array<f32, num_rows>;

// The sums of squares of all rows, each by one subgroup, in the order in which a subgroup adds up those of a single row.
fn add_squares(matrix: Matrix, wave: Wave, num_waves: u32) {
  for (var turn = 0u; turn < num_rows; turn++) {
    let row = wave.index + turn * num_waves;
    var sum = 0.0;
    for (var block = select(weight_row_blocks, wave.lane, row < num_rows); block < weight_row_blocks; block += wave.lanes) {
      for (var j = 0u; j < block_vec4s; j++) {
        let value = x_value(matrix, row, block * block_vec4s + j);
        sum += dot(value, value);
      }
    }
    sum = subgroupAdd(sum);
    if (row < num_rows && wave.lane == 0u) {
      squares[row] = sum;
    }
  }
}
#endif
#endif

// `first`: the lane's first block, or weight_row_blocks where it has nothing to do.
fn wave_sums(matrix: Matrix, n: u32, first: u32, lanes: u32, index: u32) -> array<f32, num_sums> {
#if staged
  var sums: array<f32, num_sums>;
  var block = first;
  for (var k4 = 0u; k4 < row_vec4s; k4 += chunk_vec4s) {
    stage(matrix, k4, index);
    let end = min(weight_row_blocks, (k4 + chunk_vec4s) / block_vec4s);
    add_blocks(matrix, n, block, end, lanes, &sums);
    // Where the lane goes on in the next chunk.
    if (block < end) {
      block += (end - block + lanes - 1u) / lanes * lanes;
    }
  }
  return sums;
#else
  return lane_sums(matrix, n, first, lanes);
#endif
}

@compute @workgroup_size(num_lanes)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let group = workgroup.x + workgroup.y * grid_width;
  let matrix = turn_of(group / matrix_groups);
  if (!matrix.exists) {
    return;
  }
  let wave = wave_of(index);
  let num_waves = num_lanes / wave.lanes;
#if staged
#if norm
  // The barriers of the first chunk come before anybody reads them.
  add_squares(matrix, wave, num_waves);
#endif
#endif
  for (var round = 0u; round < quad_rounds; round++) {
    let quad = wave.index + round * num_waves;
    let n = group_rows * (group % matrix_groups) + 4u * quad;
    let counts = quad < num_quads && n < matrix_rows;
    var sums = wave_sums(matrix, n, select(weight_row_blocks, wave.lane, counts), wave.lanes, index);
    for (var s = 0u; s < num_sums; s++) {
      sums[s] = subgroupAdd(sums[s]);
    }
    // Any lane has the sums; rows are spread over lanes.
    for (var row = 0u; row < num_rows; row++) {
      if (counts && row % wave.lanes == wave.lane && matrix.row + row < batch.rows) {
        var y = vec4(sums[4u * row], sums[4u * row + 1u], sums[4u * row + 2u], sums[4u * row + 3u]);
#if norm
#if staged
        y *= inverseSqrt(squares[row] / f32(cols) + eps);
#else
        y *= inverseSqrt(sums[4u * num_rows + row] / f32(cols) + eps);
#endif
#endif
        let column = matrix.column + n;
        write_outputs(matrix.row + row, column, y + bias_of(column));
      }
    }
  }
}
