// Unsigned keys in the order of the numbers; both zeros have the same. NaN has one as well, so that any values are ordered.
fn key_of(x: f32) -> u32 {
  let bits = select(bitcast<u32>(x), 0u, bitcast<u32>(x) == 0x80000000u);
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

fn value_of(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}
