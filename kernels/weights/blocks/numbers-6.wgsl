// Numbers of 6 bits: the low four as in numbers-4.wgsl; the high two of values 4w to 4w + 3 are bits 2w and 2w + 1 of the four bytes of
// the first word (w < 4) or of the second.
// Expects: weight_data: array<vec4<u32>>, weight_high: array<vec2<u32>>, weight_row_blocks.
const weight_row_highs: u32 = (weight_row_blocks + 1u) / 2u * 2u;

fn numbers_of(row: u32, block: u32) -> array<u32, 8> {
  let low = weight_data[row * weight_row_blocks + block];
  let high = weight_high[row * weight_row_highs + block];
  let top = vec4(0x30303030u);
  let shifted_a = vec4(high.x << 4u, high.x << 2u, high.x, high.x >> 2u);
  let shifted_b = vec4(high.y << 4u, high.y << 2u, high.y, high.y >> 2u);
  let a = (low & vec4(0x0f0f0f0fu)) | (shifted_a & top);
  let b = ((low >> vec4(4u)) & vec4(0x0f0f0f0fu)) | (shifted_b & top);
  return array(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
}
