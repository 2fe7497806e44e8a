// Of 8 blocks together: two float16 (of factors, of offsets) in the first word; in the 12 bytes behind it 6 bits of each for every block.
// Bytes 0 to 3: the factors of blocks 0 to 3, and above them the two high bits of those of blocks 4 to 7; bytes 4 to 7: the same of
// offsets; bytes 8 to 11: the low four bits of blocks 4 to 7, factors first.
// Expects: weight_scale: array<vec4<u32>>, weight_row_blocks (a multiple of 8).
fn scales_of(row: u32, block: u32) -> vec4<f32> {
  let packed = weight_scale[(row * weight_row_blocks + block) / 8u];
  let shift = vec2(8u * (block & 3u));
  let early = packed.yz >> shift;
  let late = (vec2(packed.w) >> (shift + vec2(0u, 4u))) & vec2(15u);
  let sixes = select(early & vec2(63u), late | ((early >> vec2(2u)) & vec2(48u)), (block & 4u) == 4u);
  let pair = unpack2x16float(packed.x) * vec2<f32>(sixes) * vec2(1.0, -1.0);
  return vec4(pair, pair);
}
