// out[row, head, c] = x[row, head, c] / sqrt(sum_c x[row, head, c]^2 / cols + eps) * norm[c] for short heads.
// Layout: a workgroup takes num_lanes / head_lanes heads, counted over all rows; head_lanes lanes share one, and each of
//   them keeps its lane_vec4s vec4s in registers.
// Expects: x: array<vec4<f32>>, x_offset, x_stride (in vec4s), norm: array<vec4<f32>>, out: array<vec4<f32>>, out_offset, out_stride,
//   cols (a multiple of 4, the length of a head), most_rows (that x has), num_heads, num_lanes, head_lanes, lane_vec4s, grid_width, eps.
const head_vec4s: u32 = cols / 4u;

var<workgroup> partial: array<f32, num_lanes>;

@compute @workgroup_size(num_lanes)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let first_lane = lane - lane % head_lanes;
  let index = ((group.x + group.y * grid_width) * num_lanes + first_lane) / head_lanes;
  let row = index / num_heads;
  let exists = row < min(batch.rows, most_rows);
  let head_at = index % num_heads * head_vec4s;
  var values: array<vec4<f32>, lane_vec4s>;
  var sum = 0.0;
  if (exists) {
    for (var i = 0u; i < lane_vec4s; i++) {
      let k4 = lane - first_lane + i * head_lanes;
      if (k4 < head_vec4s) {
        values[i] = x[x_offset + row * x_stride + head_at + k4];
        sum += dot(values[i], values[i]);
      }
    }
  }
  partial[lane] = sum;
  workgroupBarrier();
  if (exists) {
    var squares = 0.0;
    for (var i = 0u; i < head_lanes; i++) {
      squares += partial[first_lane + i];
    }
    let scale = inverseSqrt(squares / f32(cols) + eps);
    for (var i = 0u; i < lane_vec4s; i++) {
      let k4 = lane - first_lane + i * head_lanes;
      if (k4 < head_vec4s) {
        out[out_offset + row * out_stride + head_at + k4] = values[i] * scale * norm[k4];
      }
    }
  }
}
