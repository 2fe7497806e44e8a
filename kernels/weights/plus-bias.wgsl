// weight = q * scale + bias, with scale (scale, bias).
fn scaled(q: vec4<f32>, scale: vec2<f32>) -> vec4<f32> {
  return q * scale.x + scale.y;
}
