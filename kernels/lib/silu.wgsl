// silu: x / (1 + exp(-x)).
fn activate(x: f32) -> f32 {
  // exp must stay finite: WGSL leaves infinity undefined. A NaN stays NaN through the numerator.
  return x / (1.0 + exp(min(-x, 80.0)));
}
