// What the kernels of convert.wgsl share: the values of a thread's group before and after, and how bfloat16 is rounded.
// Expects: group_vec4s.
var<private> weight_row_blocks: u32;
var<private> values: array<vec4<f32>, group_vec4s>;
var<private> decoded: array<vec4<f32>, group_vec4s>;

// The upper half of a float32, the nearest one, to even of two.
fn bf16_bits(values: vec4<f32>) -> vec4<u32> {
  let bits = bitcast<vec4<u32>>(values);
  return (bits + 0x7fffu + ((bits >> vec4(16u)) & vec4(1u))) >> vec4(16u);
}

fn bf16_values(bits: vec4<u32>) -> vec4<f32> {
  return bitcast<vec4<f32>>(bits << vec4(16u));
}
