// Numbers of 4 bits: word w of a block has values 4w to 4w + 3 in the low halves of its bytes, and 16 more in the high halves.
// Expects: weight_data: array<vec4<u32>>, weight_row_blocks.
fn numbers_of(row: u32, block: u32) -> array<u32, 8> {
  let low = weight_data[row * weight_row_blocks + block];
  let a = low & vec4(0x0f0f0f0fu);
  let b = (low >> vec4(4u)) & vec4(0x0f0f0f0fu);
  return array(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
}
