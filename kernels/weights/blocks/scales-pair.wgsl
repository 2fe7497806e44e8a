// A factor and an offset for each block, both float16, in a word.
// Expects: weight_scale: array<u32>, weight_row_blocks.
const weight_row_scales: u32 = (weight_row_blocks + 3u) / 4u * 4u;

fn scales_of(row: u32, block: u32) -> vec4<f32> {
  let pair = unpack2x16float(weight_scale[row * weight_row_scales + block]);
  return vec4(pair, pair);
}
