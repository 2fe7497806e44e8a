// Of 8 blocks together: a factor of 8 bits with a sign for every 16 values; and a float16, two to a word.
// Expects: weight_scale: array<vec4<u32>>, weight_super: array<u32>, weight_row_blocks (a multiple of 8).
const weight_row_supers: u32 = (weight_row_blocks / 8u + 7u) / 8u * 4u;

fn scales_of(row: u32, block: u32) -> vec4<f32> {
  let many = block / 8u;
  let halves = unpack2x16float(weight_super[row * weight_row_supers + many / 2u]);
  let word = weight_scale[(row * weight_row_blocks + block) / 8u][(block & 7u) / 2u] >> (16u * (block & 1u));
  let bytes = vec2<f32>(bitcast<vec2<i32>>(vec2(word) << vec2(24u, 16u)) >> vec2(24u));
  let factors = select(halves.x, halves.y, (many & 1u) == 1u) * bytes;
  return vec4(factors.x, 0.0, factors.y, 0.0);
}
