// Reading the cache: one load, as `cache_vec4s` vec4 of values.
// Expects: flags cache_f16 and cache_wide (8 values to a load: dims are multiples of 8).
#if cache_wide
const cache_vec4s: u32 = 2u;

fn unpack(x: vec4<u32>) -> array<vec4<f32>, cache_vec4s> {
  return array(
    vec4(unpack2x16float(x.x), unpack2x16float(x.y)),
    vec4(unpack2x16float(x.z), unpack2x16float(x.w)),
  );
}
#elif cache_f16
const cache_vec4s: u32 = 1u;

fn unpack(x: vec2<u32>) -> array<vec4<f32>, cache_vec4s> {
  return array(vec4(unpack2x16float(x.x), unpack2x16float(x.y)));
}
#else
const cache_vec4s: u32 = 1u;

fn unpack(x: vec4<f32>) -> array<vec4<f32>, cache_vec4s> {
  return array(x);
}
#endif
