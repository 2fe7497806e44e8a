// Numbers of 5 bits: the low four as in numbers-4.wgsl; the fifth bits of values 4w to 4w + 3 are bit w of the four bytes of a word.
// Expects: weight_data: array<vec4<u32>>, weight_high: array<u32>, weight_row_blocks.
const weight_row_highs: u32 = (weight_row_blocks + 3u) / 4u * 4u;

fn numbers_of(row: u32, block: u32) -> array<u32, 8> {
  let low = weight_data[row * weight_row_blocks + block];
  let high = vec4(weight_high[row * weight_row_highs + block]);
  let fifth = vec4(0x10101010u);
  let a = (low & vec4(0x0f0f0f0fu)) | ((high << vec4(4u, 3u, 2u, 1u)) & fifth);
  let b = ((low >> vec4(4u)) & vec4(0x0f0f0f0fu)) | ((high >> vec4(0u, 1u, 2u, 3u)) & fifth);
  return array(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
}
