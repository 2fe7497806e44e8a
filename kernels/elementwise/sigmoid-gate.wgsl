// out[row, c] = x[row, c] * sigmoid(gate[row])
// Layout: an invocation per vec4. Padding columns are multiplied like the others; nobody reads them.
// Expects: sigmoid; x, out: array<vec4<f32>>, x_offset, x_stride, out_stride (in vec4s), gate: array<f32>, gate_offset,
//   gate_stride (in values), row_vec4s, num_lanes.
@compute @workgroup_size(num_lanes)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>) {
  let k4 = invocation.x;
  let row = invocation.y;
  if (k4 < row_vec4s) {
    out[row * out_stride + k4] = x[x_offset + row * x_stride + k4] * sigmoid(gate[gate_offset + row * gate_stride]);
  }
}
