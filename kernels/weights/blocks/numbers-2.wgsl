// Numbers of 2 bits: values 4w to 4w + 3 of a block are bits 2w and 2w + 1 of the four bytes of its first word (w < 4) or of its second.
// Expects: weight_data: array<vec2<u32>>, weight_row_blocks (even: 8 blocks share scales).
fn numbers_of(row: u32, block: u32) -> array<u32, 8> {
  let bits = weight_data[row * weight_row_blocks + block];
  let a = (vec4(bits.x) >> vec4(0u, 2u, 4u, 6u)) & vec4(0x03030303u);
  let b = (vec4(bits.y) >> vec4(0u, 2u, 4u, 6u)) & vec4(0x03030303u);
  return array(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
}
