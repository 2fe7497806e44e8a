// out[row, c] = activate(x[row, 2c]) * x[row, 2c + 1]; flag apart: activate(x[row, c]) * up[row, c]
// Layout: an invocation per vec4 of out, from two of x, or from one of x and one of up. Padding columns are computed like the others;
// nobody reads them.
// Expects: activate; x, out: array<vec4<f32>>, x_offset, x_stride, out_stride (in vec4s), row_vec4s (of out), num_lanes; flag apart: up,
// up_offset, up_stride.
@compute @workgroup_size(num_lanes)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>) {
  let k4 = invocation.x;
  let row = invocation.y;
  if (k4 < row_vec4s) {
#if apart
    let a = x[x_offset + row * x_stride + k4];
    let activated = vec4(activate(a.x), activate(a.y), activate(a.z), activate(a.w));
    out[row * out_stride + k4] = activated * up[up_offset + row * up_stride + k4];
#else
    let x_at = x_offset + row * x_stride + 2u * k4;
    let a = x[x_at];
    let b = x[x_at + 1u];
    out[row * out_stride + k4] =
      vec4(activate(a.x) * a.y, activate(a.z) * a.w, activate(b.x) * b.y, activate(b.z) * b.w);
#endif
  }
}
