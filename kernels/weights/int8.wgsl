// Weights as bytes without sign, 16 to a vec4<u32>, the first in the low bits of x; scale_of and scaled make values of them.
// Layout: row r, block b at weight_data[r * weight_row_blocks + b], its scale word at weight_scale[r * weight_row_scales + b /
//   group_blocks].
// Expects: weight_data: array<vec4<u32>>, weight_scale: array<u32>, weight_row_blocks, group_blocks, scale_of, scaled.
const block_vec4s: u32 = 4u;
// Scale words of a row, padded to a multiple of 4.
const weight_row_scales: u32 = (weight_row_blocks + 4u * group_blocks - 1u) / (4u * group_blocks) * 4u;

fn bytes_of(word: u32) -> vec4<f32> {
  return vec4<f32>((vec4(word) >> vec4(0u, 8u, 16u, 24u)) & vec4(255u));
}

fn load_block(row: u32, block: u32) -> array<vec4<f32>, block_vec4s> {
  let bits = weight_data[row * weight_row_blocks + block];
  let scale = scale_of(weight_scale[row * weight_row_scales + block / group_blocks]);
  return array(
    scaled(bytes_of(bits.x), scale),
    scaled(bytes_of(bits.y), scale),
    scaled(bytes_of(bits.z), scale),
    scaled(bytes_of(bits.w), scale),
  );
}
