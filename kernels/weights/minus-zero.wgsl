// weight = (q - zero) * scale, with scale (scale, zero).
fn scaled(q: vec4<f32>, scale: vec2<f32>) -> vec4<f32> {
  return (q - scale.y) * scale.x;
}
