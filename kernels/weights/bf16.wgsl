// Weights as bfloat16, 8 to a vec4<u32>, the first in the low half of x: a bfloat16 is the high half of a float32.
// Layout: row r, block b at weight_data[r * weight_row_blocks + b].
// Expects: weight_data: array<vec4<u32>>, weight_row_blocks.
const block_vec4s: u32 = 2u;

fn load_block(row: u32, block: u32) -> array<vec4<f32>, block_vec4s> {
  let bits = weight_data[row * weight_row_blocks + block];
  let even = bitcast<vec4<f32>>(bits << vec4(16u));
  let odd = bitcast<vec4<f32>>(bits & vec4(0xffff0000u));
  return array(vec4(even.x, odd.x, even.y, odd.y), vec4(even.z, odd.z, even.w, odd.w));
}
