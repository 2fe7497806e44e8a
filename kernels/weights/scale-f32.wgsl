// A scale word is a float32; the zero point is the middle of the range.
// Expects: middle: f32.
fn scale_of(word: u32) -> vec2<f32> {
  return vec2(bitcast<f32>(word), middle);
}
