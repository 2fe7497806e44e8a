// out[row, c] = sum_s scales[row, s] * x[row, s, c] (+ residual[row, c]): slots in order, the residual last.
// Layout: an invocation per vec4 of out.
// Expects: x, out: array<vec4<f32>>, x_offset, x_stride, out_stride (in vec4s), scales: array<f32>, scales_offset,
//   scales_stride (in values), num_slots, row_vec4s (of out, and of a slot of x), num_lanes.
//   flag has_residual: residual: array<vec4<f32>>, residual_offset, residual_stride (in vec4s).
@compute @workgroup_size(num_lanes)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>) {
  let k4 = invocation.x;
  let row = invocation.y;
  if (k4 >= row_vec4s) {
    return;
  }
  let x_at = x_offset + row * x_stride + k4;
  let scales_at = scales_offset + row * scales_stride;
  var sum = vec4(0.0);
  for (var slot = 0u; slot < num_slots; slot++) {
    sum += scales[scales_at + slot] * x[x_at + slot * row_vec4s];
  }
#if has_residual
  sum += residual[residual_offset + row * residual_stride + k4];
#endif
  out[row * out_stride + k4] = sum;
}
