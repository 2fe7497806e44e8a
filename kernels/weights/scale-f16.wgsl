// A scale word is two float16: the scale in the low half, a zero point or a bias in the high half.
fn scale_of(word: u32) -> vec2<f32> {
  return unpack2x16float(word);
}
