// Eight values as bfloat16, rounded to nearest. Layout: bf16.wgsl.
// Expects: Convert, p, values, decoded, group_vec4s (2).
@group(0) @binding(3) var<storage, read_write> data: array<vec4<u32>>;
const most: f32 = 3.3e38;

fn encode(row: u32, group: u32) {
  let a = bf16_bits(values[0]);
  let b = bf16_bits(values[1]);
  decoded[0] = bf16_values(a);
  decoded[1] = bf16_values(b);
  data[row * p.row_blocks + group] = vec4(a.xz | (a.yw << vec2(16u)), b.xz | (b.yw << vec2(16u)));
}
