// Weights as 4-bit numbers, 32 to a vec4<u32>, the first in the low bits of x; scale_of and scaled make values of them.
// Layout: row r, block b at weight_data[r * weight_row_blocks + b], its scale word at weight_scale[r * weight_row_scales + b /
//   group_blocks].
// Expects: weight_data: array<vec4<u32>>, weight_scale: array<u32>, weight_row_blocks, group_blocks, scale_of, scaled.
const block_vec4s: u32 = 8u;
// Scale words of a row, padded to a multiple of 4.
const weight_row_scales: u32 = (weight_row_blocks + 4u * group_blocks - 1u) / (4u * group_blocks) * 4u;

fn nibbles(word: u32, shift: u32) -> vec4<f32> {
  return vec4<f32>((vec4(word) >> (vec4(0u, 4u, 8u, 12u) + shift)) & vec4(15u));
}

fn load_block(row: u32, block: u32) -> array<vec4<f32>, block_vec4s> {
  let bits = weight_data[row * weight_row_blocks + block];
  let scale = scale_of(weight_scale[row * weight_row_scales + block / group_blocks]);
  return array(
    scaled(nibbles(bits.x, 0u), scale),
    scaled(nibbles(bits.x, 16u), scale),
    scaled(nibbles(bits.y, 0u), scale),
    scaled(nibbles(bits.y, 16u), scale),
    scaled(nibbles(bits.z, 0u), scale),
    scaled(nibbles(bits.z, 16u), scale),
    scaled(nibbles(bits.w, 0u), scale),
    scaled(nibbles(bits.w, 16u), scale),
  );
}
