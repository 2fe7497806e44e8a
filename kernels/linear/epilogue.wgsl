// The end of a linear: gate, residual, store; and its bias. Written for four neighbouring columns of y at once.
//   out = y, or activate(y[2i]) * y[2i + 1] (gate);  out *= out_scale (flag scale);  out += residual;  flag adds: added to what out holds already
// Layout: four columns of y are one out_vec, vec4<f32> or vec2<f32> (gate: half as many columns). Columns after the last
//   one are padding and may be overwritten.
// Expects: flag gate: activate; alias out_vec, out: array<out_vec>, out_offset, out_stride (in out_vecs); flag bias: bias: array<vec4<f32>>; flag
//   residual: residual: array<out_vec>, residual_offset, residual_stride.
// `column`: the first of the four columns of y, a multiple of 4.

// What to add to the sums of four columns.
fn bias_of(column: u32) -> vec4<f32> {
#if bias
  return bias[column / 4u];
#else
  return vec4(0.0);
#endif
}

fn write_outputs(row: u32, column: u32, y: vec4<f32>) {
#if gate
  var value = vec2(activate(y.x) * y.y, activate(y.z) * y.w);
#else
  var value = y;
#endif
#if scale
  value *= out_scale;
#endif
#if residual
  value += residual[residual_offset + row * residual_stride + column / 4u];
#endif
#if adds
  value += out[out_offset + row * out_stride + column / 4u];
#endif
  out[out_offset + row * out_stride + column / 4u] = value;
}
