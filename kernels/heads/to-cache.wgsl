// Two neighbouring values as the cache stores them: vec2<f32>, or two f16 in a u32.
// Expects: flag cache_f16; alias cache_pair.

fn to_cache(x: vec2<f32>) -> cache_pair {
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
