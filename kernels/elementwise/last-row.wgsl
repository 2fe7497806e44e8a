// out[s, c] = x[the last row of sequence s, c]
// Layout: an invocation per vec4. Padding columns are copied like the others; nobody reads them.
// Expects: part rows.wgsl; x, out: array<vec4<f32>>, x_offset, x_stride, out_stride (in vec4s), row_vec4s, num_lanes.
@compute @workgroup_size(num_lanes)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>) {
  let k4 = invocation.x;
  let sequence = invocation.y;
  if (k4 < row_vec4s) {
    out[sequence * out_stride + k4] = x[x_offset + last_row_of(sequence) * x_stride + k4];
  }
}
