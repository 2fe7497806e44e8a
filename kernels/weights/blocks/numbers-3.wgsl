// Numbers of 3 bits: the low two as in numbers-2.wgsl; the third bits of values 4w to 4w + 3 are bit w of the four bytes of a word.
// Expects: weight_data: array<vec2<u32>>, weight_high: array<u32>, weight_row_blocks (a multiple of 8).
fn numbers_of(row: u32, block: u32) -> array<u32, 8> {
  let bits = weight_data[row * weight_row_blocks + block];
  let high = vec4(weight_high[row * weight_row_blocks + block]);
  let third = vec4(0x04040404u);
  let a = ((vec4(bits.x) >> vec4(0u, 2u, 4u, 6u)) & vec4(0x03030303u)) | (vec4(high.x << 2u, high.x << 1u, high.x, high.x >> 1u) & third);
  let b = ((vec4(bits.y) >> vec4(0u, 2u, 4u, 6u)) & vec4(0x03030303u)) | ((high >> vec4(2u, 3u, 4u, 5u)) & third);
  return array(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
}
