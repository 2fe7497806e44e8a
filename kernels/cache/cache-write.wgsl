// Writing the cache: where the words of a place are, and values as they are stored.
// Layout: as in cache-read.wgsl. f32 and f16 go in pairs of neighbouring values (vec2<f32>, or two f16 in a u32); int8 in quads: four
//   integers in a u32 as parts of the largest value of their place and head, which is stored once.
// Expects: keys_offset, keys_stride, values_offset, values_stride (in pairs, or quads), keys_block, values_block (of a block, in pairs or
//   words), k_heads, block_length; flags cache_int8 and cache_f16; alias cache_word.
fn key_at(place: u32) -> u32 {
  return place / block_length * keys_block + keys_offset + place % block_length * keys_stride;
}

fn value_at(place: u32) -> u32 {
  return place / block_length * values_block + values_offset + place % block_length * values_stride;
}

#if cache_int8
// Where the scale of a place and head stands.
fn key_scale_at(place: u32, head: u32) -> u32 {
  return place / block_length * keys_block + block_length * keys_stride + place % block_length * k_heads + head;
}

fn value_scale_at(place: u32, head: u32) -> u32 {
  return place / block_length * values_block + block_length * values_stride + place % block_length * k_heads + head;
}

// The bits of the largest magnitude of some values: of numbers without a sign they are in the numbers' order, and NaN comes last.
fn largest_bits(before: u32, x: vec2<f32>) -> u32 {
  let bits = bitcast<vec2<u32>>(x) & vec2<u32>(0x7fffffffu);
  return max(before, max(bits.x, bits.y));
}

// NaN and infinity stay in the scale, so that they show in the output.
fn to_quad(x: vec4<f32>, largest: f32) -> u32 {
  return pack4x8snorm(select(vec4<f32>(0.0), x / largest, largest > 0.0));
}
#else
fn to_cache(x: vec2<f32>) -> cache_word {
#if cache_f16
  // pack2x16float leaves open what becomes of values beyond f16's range: they are made infinities (and NaN stays NaN), so
  // that an overflow shows in the output instead of passing for 65504.
  let bits = bitcast<vec2<u32>>(x);
  let magnitude = bits & vec2<u32>(0x7fffffffu);
  let is_beyond = magnitude >= vec2<u32>(0x477ff000u); // 65520, the first value that rounds to infinity
  let is_nan = magnitude > vec2<u32>(0x7f800000u);
  let sign = (bits >> vec2<u32>(16u)) & vec2<u32>(0x8000u);
  let special = select(vec2<u32>(0u), sign | select(vec2<u32>(0x7c00u), vec2<u32>(0x7e00u), is_nan), is_beyond);
  return pack2x16float(select(x, vec2<f32>(0.0), is_beyond)) | special.x | (special.y << 16u);
#else
  return x;
#endif
}
#endif
