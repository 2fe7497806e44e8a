// The end of a linear: swiglu, residual, store; and its bias. Written for four neighbouring weight rows at once.
//   out = y, or silu(y[2i]) * y[2i + 1] (swiglu);  out += residual
// Layout: weight row n of the part is output column part_begin + n (half of that with swiglu), so four weight rows are one
//   out_vec, vec4<f32> or vec2<f32>. Columns behind the last one are padding and may be overwritten.
// Expects: swiglu; part_begin (a multiple of 4), alias out_vec, out: array<out_vec>, out_stride (in out_vecs);
//   flag bias: bias: array<vec4<f32>>; flag residual: residual: array<out_vec>, residual_offset, residual_stride.
// `n`: the first of the four weight rows of the part, a multiple of 4.

// What to add to the sums of four weight rows.
fn bias_of(n: u32) -> vec4<f32> {
#if bias
  return bias[(part_begin + n) / 4u];
#else
  return vec4(0.0);
#endif
}

fn write_outputs(row: u32, n: u32, y: vec4<f32>) {
  let column = (part_begin + n) / 4u;
#if swiglu
  var value = vec2(swiglu(y.x, y.y), swiglu(y.z, y.w));
#else
  var value = y;
#endif
#if residual
  value += residual[residual_offset + row * residual_stride + column];
#endif
  out[row * out_stride + column] = value;
}
