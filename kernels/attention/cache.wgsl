// Reading the cache: where a head begins, and one load, a unit, as `cache_vec4s` vec4 of values.
// Layout: rows (positions) of kv heads; offsets and strides in units. Values may lie within the rows of the keys.
// Expects: k_units, v_units (units per head), keys_offset, keys_stride, values_offset, values_stride; flags cache_f16 and
// cache_wide (8 values to a unit: everything is a multiple of 8).
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

fn keys_begin(position: u32, kv_head: u32) -> u32 {
  return keys_offset + position * keys_stride + kv_head * k_units;
}

fn values_begin(position: u32, kv_head: u32) -> u32 {
  return values_offset + position * values_stride + kv_head * v_units;
}
