// out[row, n] = sum_s scales[row, s] * sum_k weight[experts[row, s], n, k] * x[row, s, k] (+ residual[row, n]).
// Layout: one workgroup (flag waves: subgroup) per row and four weight rows n; its lanes stride over pairs (slot, block), so
//   that short rows of many slots keep as many loads in flight as one long row. Slots whose expert another part holds add nothing.
// Expects: load_block, write_outputs, expert_in_part; part_experts, num_slots, matrix_rows; x: array<vec4<f32>>, x_offset,
//   x_stride, x_slot_stride (in vec4s); scales: array<f32>, scales_offset, scales_stride; cols, grid_width. flag ragged: cols is
//   not a multiple of the block. add_lanes and lane_total (num_sums 4); flag waves: wave_of, num_lanes, num_quads, quad_rounds.
#if waves
const group_rows: u32 = 4u * num_quads;
#else
const group_rows: u32 = 4u;
#endif
const matrix_groups: u32 = (matrix_rows + group_rows - 1u) / group_rows;
const num_pairs: u32 = num_slots * weight_row_blocks;

// What one of `lanes` lanes adds to the sums of four weight rows.
fn lane_sum(row: u32, n: u32, lane: u32, lanes: u32) -> vec4<f32> {
  var sum = vec4<f32>();
  for (var i = lane; i < num_pairs; i += lanes) {
    let slot = i / weight_row_blocks;
    let block = i % weight_row_blocks;
    let expert = expert_in_part(row, slot);
    if (expert < part_experts) {
      let weight_row = expert * matrix_rows + n;
      let w0 = load_block(weight_row, block);
      let w1 = load_block(weight_row + 1u, block);
      let w2 = load_block(weight_row + 2u, block);
      let w3 = load_block(weight_row + 3u, block);
      let x_at = x_offset + row * x_stride + slot * x_slot_stride;
      var y = vec4<f32>();
      for (var j = 0u; j < block_vec4s; j++) {
        let k4 = block * block_vec4s + j;
        var value = x[x_at + k4];
#if ragged
        value = select(vec4(0.0), value, vec4(4u * k4) + vec4(0u, 1u, 2u, 3u) < vec4(cols));
#endif
        y += vec4(dot(w0[j], value), dot(w1[j], value), dot(w2[j], value), dot(w3[j], value));
      }
      sum += scales[scales_offset + row * scales_stride + slot] * y;
    }
  }
  return sum;
}

#if waves
@compute @workgroup_size(num_lanes)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let group = workgroup.x + workgroup.y * grid_width;
  let row = group / matrix_groups;
  if (row >= batch.rows) {
    return;
  }
  let wave = wave_of(index);
  for (var round = 0u; round < quad_rounds; round++) {
    let quad = wave.index + round * (num_lanes / wave.lanes);
    let n = group_rows * (group % matrix_groups) + 4u * quad;
    let counts = quad < num_quads && n < matrix_rows;
    let sum = subgroupAdd(lane_sum(row, n, select(num_pairs, wave.lane, counts), wave.lanes));
    if (counts && wave.lane == 0u) {
      write_outputs(row, n, sum);
    }
  }
}
#else
@compute @workgroup_size(num_lanes)
fn main(at: Invocation, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let group = workgroup.x + workgroup.y * grid_width;
  let row = group / matrix_groups;
  if (row >= batch.rows) {
    return;
  }
  let n = 4u * (group % matrix_groups);
  let sum = lane_sum(row, n, at.lane, num_lanes);
  add_lanes(array(sum.x, sum.y, sum.z, sum.w), at);
  if (at.lane == 0u) {
    write_outputs(row, n, vec4(lane_total(0u), lane_total(1u), lane_total(2u), lane_total(3u)));
  }
}
#endif
