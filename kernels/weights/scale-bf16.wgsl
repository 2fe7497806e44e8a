// A scale word is two bfloat16: the scale in the low half, a zero point or a bias in the high half.
fn scale_of(word: u32) -> vec2<f32> {
  return vec2(bitcast<f32>(word << 16u), bitcast<f32>(word & 0xffff0000u));
}
