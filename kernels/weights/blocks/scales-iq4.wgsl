// Of 8 blocks together: a float16, and 6 bits of a factor for every block, 32 too many: the high two in the half word behind it, the low four
// in the second word.
// Expects: weight_scale: array<vec2<u32>>, weight_row_blocks (a multiple of 8).
const weight_row_scales: u32 = (weight_row_blocks / 8u + 1u) / 2u * 2u;

fn scales_of(row: u32, block: u32) -> vec4<f32> {
  let packed = weight_scale[row * weight_row_scales + block / 8u];
  let in_eight = block & 7u;
  let six = ((packed.y >> (4u * in_eight)) & 15u) | (((packed.x >> (16u + 2u * in_eight)) & 3u) << 4u);
  let factor = unpack2x16float(packed.x).x * (f32(six) - 32.0);
  return vec4(factor, 0.0, factor, 0.0);
}
