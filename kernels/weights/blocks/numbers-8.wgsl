// Numbers of 8 bits, in order.
// Expects: weight_data: array<vec4<u32>>, weight_row_blocks.
fn numbers_of(row: u32, block: u32) -> array<u32, 8> {
  let at = 2u * (row * weight_row_blocks + block);
  let a = weight_data[at];
  let b = weight_data[at + 1u];
  return array(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
}
