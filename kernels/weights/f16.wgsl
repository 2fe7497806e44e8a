// Weights as float16, 8 to a vec4<u32>, the first in the low half of x. Needs no shader-f16.
// Layout: row r, block b at weight_data[r * weight_row_blocks + b].
// Expects: weight_data: array<vec4<u32>>, weight_row_blocks.
const block_vec4s: u32 = 2u;

fn load_block(row: u32, block: u32) -> array<vec4<f32>, block_vec4s> {
  let bits = weight_data[row * weight_row_blocks + block];
  return array(
    vec4(unpack2x16float(bits.x), unpack2x16float(bits.y)),
    vec4(unpack2x16float(bits.z), unpack2x16float(bits.w)),
  );
}
