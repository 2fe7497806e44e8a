// Numbers of 6 bits: the low four as in numbers-4.wgsl; behind those of the row two words for each block, in which the high two bits of
// values 4w to 4w + 3 are bits 2w and 2w + 1 of the four bytes of the first (w < 4) or of the second.
// Expects: weight_data: array<vec4<u32>>, weight_row_blocks (a multiple of 8).
const weight_row_vec4s: u32 = weight_row_blocks + weight_row_blocks / 2u;

fn numbers_of(row: u32, block: u32) -> array<u32, 8> {
  let first = row * weight_row_vec4s;
  let low = weight_data[first + block];
  let high_at = first + weight_row_blocks + block / 2u;
  let high_a = weight_data[high_at][2u * (block & 1u)];
  let high_b = weight_data[high_at][2u * (block & 1u) + 1u];
  let top = vec4(0x30303030u);
  let a = (low & vec4(0x0f0f0f0fu)) | (vec4(high_a << 4u, high_a << 2u, high_a, high_a >> 2u) & top);
  let b = ((low >> vec4(4u)) & vec4(0x0f0f0f0fu)) | (vec4(high_b << 4u, high_b << 2u, high_b, high_b >> 2u) & top);
  return array(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
}
