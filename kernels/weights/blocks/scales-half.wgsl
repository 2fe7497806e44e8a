// A float16 for each block, two to a word.
// Expects: weight_scale: array<u32>, weight_row_blocks.
const weight_row_scales: u32 = (weight_row_blocks + 7u) / 8u * 4u;

fn scales_of(row: u32, block: u32) -> vec4<f32> {
  let halves = unpack2x16float(weight_scale[row * weight_row_scales + block / 2u]);
  let factor = select(halves.x, halves.y, (block & 1u) == 1u);
  return vec4(factor, 0.0, factor, 0.0);
}
