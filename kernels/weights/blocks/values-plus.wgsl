// value = factor * number + offset.
fn values_of(numbers: u32, scales: vec2<f32>) -> vec4<f32> {
  return scales.x * bytes_of(numbers) + vec4(scales.y);
}
