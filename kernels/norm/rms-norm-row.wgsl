// out[row, c] = x[row, c] / sqrt(sum_c x[row, c]^2 / cols + eps) * norm[c]
// Layout: one workgroup per row; its lanes stride over the vec4s of the row, twice.
// Expects: add_lanes, lane_total (num_sums 1); x: array<vec4<f32>>, x_offset, x_stride (in vec4s), norm: array<vec4<f32>>,
//   out: array<vec4<f32>>, out_offset, out_stride, cols, most_rows (that x has), grid_width, eps. flag ragged: cols is not a multiple of 4.
const row_vec4s: u32 = (cols + 3u) / 4u;

@compute @workgroup_size(num_lanes)
fn main(at: Invocation, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let group = workgroup.x + workgroup.y * grid_width;
  // Workgroups after the last row recompute it and write nothing, so that barriers stay uniform.
  let num_rows = min(batch.rows, most_rows);
  let row = min(group, num_rows - 1u);
  let x_row = x_offset + row * x_stride;
  var sums: array<f32, num_sums>;
  for (var k4 = at.lane; k4 < row_vec4s; k4 += num_lanes) {
    var value = x[x_row + k4];
#if ragged
    value = select(vec4(0.0), value, vec4(4u * k4) + vec4(0u, 1u, 2u, 3u) < vec4(cols));
#endif
    sums[0] += dot(value, value);
  }
  add_lanes(sums, at);
  let scale = inverseSqrt(lane_total(0u) / f32(cols) + eps);
  if (group < num_rows) {
    for (var k4 = at.lane; k4 < row_vec4s; k4 += num_lanes) {
      out[out_offset + row * out_stride + k4] = x[x_row + k4] * scale * norm[k4];
    }
  }
}
