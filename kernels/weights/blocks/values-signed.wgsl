// value = factor * number; numbers have signs.
fn values_of(numbers: u32, scales: vec2<f32>) -> vec4<f32> {
  let signed = bitcast<vec4<i32>>(vec4(numbers) << vec4(24u, 16u, 8u, 0u)) >> vec4(24u);
  return scales.x * vec4<f32>(signed);
}
