// Of 8 blocks together: 4 bits of a factor and 4 of an offset for every 16 values, in 16 bytes; and two float16 (of factors, of offsets).
// Expects: weight_scale: array<vec4<u32>>, weight_super: array<u32>, weight_row_blocks (a multiple of 8).
const weight_row_supers: u32 = (weight_row_blocks / 8u + 3u) / 4u * 4u;

fn scales_of(row: u32, block: u32) -> vec4<f32> {
  let pair = unpack2x16float(weight_super[row * weight_row_supers + block / 8u]);
  let word = weight_scale[(row * weight_row_blocks + block) / 8u][(block & 7u) / 2u];
  let fours = (vec4(word) >> (vec4(0u, 4u, 8u, 12u) + vec4(16u * (block & 1u)))) & vec4(15u);
  return vec4(pair, pair) * vec4<f32>(fours) * vec4(1.0, -1.0, 1.0, -1.0);
}
