// 1 / (1 + exp(-x)). exp only sees what is at most 0, so that it stays finite; NaN stays NaN.
fn sigmoid(x: f32) -> f32 {
  let small = exp(-abs(x));
  return select(small, 1.0, x >= 0.0) / (1.0 + small);
}
