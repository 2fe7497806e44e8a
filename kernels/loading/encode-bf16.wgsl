// Eight values as bfloat16, rounded to nearest. Layout: weights/bf16.wgsl.
// Expects: params.row_blocks, target_data: array<vec4<u32>>, values, decoded, group_vec4s (2).
const most: f32 = 3.3e38;

fn encode(row: u32, group: u32) {
  let a = bf16_bits(values[0]);
  let b = bf16_bits(values[1]);
  decoded[0] = bf16_values(a);
  decoded[1] = bf16_values(b);
  target_data[row * params.row_blocks + group] = vec4(a.xz | (a.yw << vec2(16u)), b.xz | (b.yw << vec2(16u)));
}
