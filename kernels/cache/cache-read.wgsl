// Reading the cache: one load, a unit, as `cache_vec4s` vec4 of values. A place is what place.wgsl gives.
// Layout: blocks of block_length places; in a block, places of kv heads; offsets and strides in units. Values may lie within the
//   rows of the keys. Flag cache_int8: a unit is 16 integers in snorm, and the block's places are followed by a scale for each place and head.
// Expects: k_units, v_units (units per head), keys_offset, keys_stride, values_offset, values_stride, keys_block, values_block (units of a
//   block), block_length; flags cache_int8, cache_wide (8 values of f16 to a unit: everything is a multiple of 8) and cache_f16; keys, values.
#if cache_int8
const cache_vec4s: u32 = 4u;

struct CacheUnit {
  bits: vec4<u32>,
  scale: f32,
}

fn unpack(x: CacheUnit) -> array<vec4<f32>, cache_vec4s> {
  return array(
    x.scale * unpack4x8snorm(x.bits.x),
    x.scale * unpack4x8snorm(x.bits.y),
    x.scale * unpack4x8snorm(x.bits.z),
    x.scale * unpack4x8snorm(x.bits.w),
  );
}
#elif cache_wide
const cache_vec4s: u32 = 2u;

alias CacheUnit = vec4<u32>;

fn unpack(x: vec4<u32>) -> array<vec4<f32>, cache_vec4s> {
  return array(
    vec4(unpack2x16float(x.x), unpack2x16float(x.y)),
    vec4(unpack2x16float(x.z), unpack2x16float(x.w)),
  );
}
#elif cache_f16
const cache_vec4s: u32 = 1u;

alias CacheUnit = vec2<u32>;

fn unpack(x: vec2<u32>) -> array<vec4<f32>, cache_vec4s> {
  return array(vec4(unpack2x16float(x.x), unpack2x16float(x.y)));
}
#else
const cache_vec4s: u32 = 1u;

alias CacheUnit = vec4<f32>;

fn unpack(x: vec4<f32>) -> array<vec4<f32>, cache_vec4s> {
  return array(x);
}
#endif

#if cache_int8
fn load_key(place: u32, kv_head: u32, unit: u32) -> CacheUnit {
  let begin = place / block_length * keys_block;
  let at = place % block_length;
  let scale = at * k_heads + kv_head;
  return CacheUnit(
    keys[begin + keys_offset + at * keys_stride + kv_head * k_units + unit],
    bitcast<f32>(keys[begin + block_length * keys_stride + scale / 4u][scale % 4u]),
  );
}

fn load_value(place: u32, kv_head: u32, unit: u32) -> CacheUnit {
  let begin = place / block_length * values_block;
  let at = place % block_length;
  let scale = at * k_heads + kv_head;
  return CacheUnit(
    values[begin + values_offset + at * values_stride + kv_head * v_units + unit],
    bitcast<f32>(values[begin + block_length * values_stride + scale / 4u][scale % 4u]),
  );
}
#else
fn load_key(place: u32, kv_head: u32, unit: u32) -> CacheUnit {
  return keys[keys_offset + place * keys_stride + kv_head * k_units + unit];
}

fn load_value(place: u32, kv_head: u32, unit: u32) -> CacheUnit {
  return values[values_offset + place * values_stride + kv_head * v_units + unit];
}
#endif
