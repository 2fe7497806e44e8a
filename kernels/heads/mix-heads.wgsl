// out[r, h] = x[r, h], mixed as in mix.wgsl.
// Layout: rows of heads of mix_dim values; threads / lanes heads to a workgroup, `lanes` lanes to a head. Strides and offsets in vec2.
// Expects: threads, lanes, num_heads, x_offset, x_stride, out_offset, out_stride; part mix.wgsl; x, out.

@compute @workgroup_size(threads)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = group.y;
  let head = group.x * (threads / lanes) + lane / lanes;
  let unit = lane % lanes;
  let begin = 4u * (lane - unit);
  let at = (head * lanes + unit) * 2u;
  let has_values = head < num_heads;
  if (has_values) {
    for (var i = 0u; i < 2u; i++) {
      let place = begin + 4u * unit + 2u * i;
      let pair = mix_scale * x[x_offset + row * x_stride + at + i];
      mixed[place] = pair.x;
      mixed[place + 1u] = pair.y;
    }
  }
  mix_heads(begin, unit, has_values);
  if (has_values) {
    for (var i = 0u; i < 2u; i++) {
      let place = begin + 4u * unit + 2u * i;
      out[out_offset + row * out_stride + at + i] = vec2<f32>(mixed[place], mixed[place + 1u]);
    }
  }
}
