// Of 8 blocks together: a factor of 8 bits with a sign for every 16 values; behind those of the row a float16, eight to a vec4.
// Expects: weight_scale: array<vec4<u32>>, weight_row_blocks (a multiple of 8).
const row_eights: u32 = weight_row_blocks / 8u;
const weight_row_scales: u32 = row_eights + (row_eights + 7u) / 8u;

fn scales_of(row: u32, block: u32) -> vec4<f32> {
  let first = row * weight_row_scales;
  let eight = block / 8u;
  let halves = unpack2x16float(weight_scale[first + row_eights + eight / 8u][(eight & 7u) / 2u]);
  let word = weight_scale[first + eight][(block & 7u) / 2u] >> (16u * (block & 1u));
  let bytes = vec2<f32>(bitcast<vec2<i32>>(vec2(word) << vec2(24u, 16u)) >> vec2(24u));
  let factors = select(halves.x, halves.y, (eight & 1u) == 1u) * bytes;
  return vec4(factors.x, 0.0, factors.y, 0.0);
}
