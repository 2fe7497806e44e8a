// out[row, c] = a[row, c] + b[row, c]
// Layout: an invocation per vec4. Padding columns are added like the others; nobody reads them.
// Expects: a, b, out: array<vec4<f32>>, a_offset, a_stride, b_offset, b_stride, out_stride (in vec4s), row_vec4s, num_lanes.
@compute @workgroup_size(num_lanes)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>) {
  let k4 = invocation.x;
  let row = invocation.y;
  if (k4 < row_vec4s) {
    out[row * out_stride + k4] = a[a_offset + row * a_stride + k4] + b[b_offset + row * b_stride + k4];
  }
}
