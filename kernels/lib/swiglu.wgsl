// silu(gate) * up, silu(g) = g / (1 + exp(-g)).
fn swiglu(gate: f32, up: f32) -> f32 {
  // exp must stay finite: WGSL leaves infinity undefined. A NaN gate stays NaN through the numerator.
  return gate / (1.0 + exp(min(-gate, 80.0))) * up;
}
