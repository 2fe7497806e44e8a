// An exponent for each block, four to a word: 2^(e - 128), half of what the numbers of the table count in.
// Expects: weight_scale: array<u32>, weight_row_blocks.
const weight_row_scales: u32 = (weight_row_blocks + 15u) / 16u * 4u;

fn scales_of(row: u32, block: u32) -> vec4<f32> {
  let exponent = (weight_scale[row * weight_row_scales + block / 4u] >> (8u * (block & 3u))) & 255u;
  let factor = 0.5 * bitcast<f32>(exponent << 23u);
  return vec4(factor, 0.0, factor, 0.0);
}
