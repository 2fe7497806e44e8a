// Of 8 blocks together: 4 bits of a factor and 4 of an offset for every 16 values, in 16 bytes; behind those of the row a word with two
// float16 (of factors, of offsets).
// Expects: weight_scale: array<vec4<u32>>, weight_row_blocks (a multiple of 8).
const row_eights: u32 = weight_row_blocks / 8u;
const weight_row_scales: u32 = row_eights + (row_eights + 3u) / 4u;

fn scales_of(row: u32, block: u32) -> vec4<f32> {
  let first = row * weight_row_scales;
  let eight = block / 8u;
  let pair = unpack2x16float(weight_scale[first + row_eights + eight / 4u][eight & 3u]);
  let word = weight_scale[first + eight][(block & 7u) / 2u];
  let fours = (vec4(word) >> (vec4(0u, 4u, 8u, 12u) + vec4(16u * (block & 1u)))) & vec4(15u);
  return vec4(pair, pair) * vec4<f32>(fours) * vec4(1.0, -1.0, 1.0, -1.0);
}
