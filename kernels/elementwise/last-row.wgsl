// out[0, c] = x[step.rows - 1, c]
// Layout: an invocation per vec4. Padding columns are copied like the others; nobody reads them.
// Expects: x, out: array<vec4<f32>>, x_offset, x_stride (in vec4s), row_vec4s, num_lanes.
@compute @workgroup_size(num_lanes)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>) {
  let k4 = invocation.x;
  if (k4 < row_vec4s) {
    out[k4] = x[x_offset + (step.rows - 1u) * x_stride + k4];
  }
}
