// gelu with tanh: x / 2 * (1 + tanh(u)) = x / (1 + exp(-2 u)), u = sqrt(2 / pi) * (x + 0.044715 x^3).
fn activate(x: f32) -> f32 {
  // Beyond 16 the result is x or 0, and x^3 and exp must stay finite: WGSL leaves infinity undefined. A NaN stays NaN through
  // the numerator.
  let c = clamp(x, -16.0, 16.0);
  let u = 0.7978845608028654 * (c + 0.044715 * c * c * c);
  return x / (1.0 + exp(min(-2.0 * u, 80.0)));
}
