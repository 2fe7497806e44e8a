// out[r, h] = x[r, h] with its first 2 * half values rotated by the angles of row r.
// Layout: rows of heads of 4 * units values. One lane per unit (rotate.wgsl); strides and offsets in vec2.
// Expects: num_heads, units, x_offset, x_stride, out_offset, out_stride; parts rows.wgsl and rotate.wgsl; x, out.

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = id.y;
  if (id.x >= num_heads * units) {
    return;
  }
  let unit = id.x % units;
  let head_begin = (id.x / units) * units * 2u;
  let places = unit_places(unit);
  let x_begin = x_offset + row * x_stride + head_begin;
  let rotated = rotate(Unit(x[x_begin + places.x], x[x_begin + places.y]), unit, row);
  let out_begin = out_offset + row * out_stride + head_begin;
  out[out_begin + places.x] = rotated.a;
  out[out_begin + places.y] = rotated.b;
}
