// Of 8 blocks together: 6 bits of a factor for every 16 values, 32 too many, in 12 bytes; and a float16 in the last word. Factor i: its low
// four bits are the low (i < 8) or high half of byte i % 8, its high two bits 2 * (i / 4) of byte 8 + i % 4.
// Expects: weight_scale: array<vec4<u32>>, weight_row_blocks (a multiple of 8).
fn scales_of(row: u32, block: u32) -> vec4<f32> {
  let packed = weight_scale[(row * weight_row_blocks + block) / 8u];
  let i = 2u * (block & 7u);
  let low_word = select(packed.x, packed.y, (i & 4u) == 4u);
  let shift = 8u * (i & 3u);
  let low = (vec2(low_word) >> (vec2(shift + select(0u, 4u, i >= 8u)) + vec2(0u, 8u))) & vec2(15u);
  let high = (vec2(packed.z) >> (vec2(shift + 2u * (i / 4u)) + vec2(0u, 8u))) & vec2(3u);
  let factors = unpack2x16float(packed.w).x * (vec2<f32>(low | (high << vec2(4u))) - vec2(32.0));
  return vec4(factors.x, 0.0, factors.y, 0.0);
}
