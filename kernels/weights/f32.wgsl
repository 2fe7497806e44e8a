// Weights as float32, 4 to a load.
// Layout: row r, block b at weight_data[r * weight_row_blocks + b].
// Expects: weight_data: array<vec4<f32>>, weight_row_blocks.
const block_vec4s: u32 = 1u;

fn load_block(row: u32, block: u32) -> array<vec4<f32>, block_vec4s> {
  return array(weight_data[row * weight_row_blocks + block]);
}
