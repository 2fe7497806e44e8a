// Numbers of 5 bits: the low four as in numbers-4.wgsl; behind those of the row a word for each block, in which the fifth bits of values 4w
// to 4w + 3 are bit w of the four bytes.
// Expects: weight_data: array<vec4<u32>>, weight_row_blocks.
const weight_row_vec4s: u32 = weight_row_blocks + (weight_row_blocks + 3u) / 4u;

fn numbers_of(row: u32, block: u32) -> array<u32, 8> {
  let first = row * weight_row_vec4s;
  let low = weight_data[first + block];
  let high = vec4(weight_data[first + weight_row_blocks + block / 4u][block & 3u]);
  let fifth = vec4(0x10101010u);
  let a = (low & vec4(0x0f0f0f0fu)) | ((high << vec4(4u, 3u, 2u, 1u)) & fifth);
  let b = ((low >> vec4(4u)) & vec4(0x0f0f0f0fu)) | ((high >> vec4(0u, 1u, 2u, 3u)) & fifth);
  return array(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
}
