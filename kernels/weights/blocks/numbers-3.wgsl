// Numbers of 3 bits: the low two as in numbers-2.wgsl; behind those of the row a word for each block, in which the third bits of values 4w
// to 4w + 3 are bit w of the four bytes.
// Expects: weight_data: array<vec2<u32>>, weight_row_blocks (a multiple of 8).
const weight_row_vec2s: u32 = weight_row_blocks + weight_row_blocks / 2u;

fn numbers_of(row: u32, block: u32) -> array<u32, 8> {
  let first = row * weight_row_vec2s;
  let bits = weight_data[first + block];
  let high = weight_data[first + weight_row_blocks + block / 2u][block & 1u];
  let third = vec4(0x04040404u);
  let early = vec4(high << 2u, high << 1u, high, high >> 1u) & third;
  let late = (vec4(high) >> vec4(2u, 3u, 4u, 5u)) & third;
  let a = ((vec4(bits.x) >> vec4(0u, 2u, 4u, 6u)) & vec4(0x03030303u)) | early;
  let b = ((vec4(bits.y) >> vec4(0u, 2u, 4u, 6u)) & vec4(0x03030303u)) | late;
  return array(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
}
