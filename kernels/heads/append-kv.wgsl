// keys[place of row r] = k[r], values[place of row r] = v[r].
// Layout: caches as in cache-write.wgsl; one lane per pair of values, with cache_int8 per quad. Offsets and strides of k and v in vec2.
// Expects: k_pairs, v_pairs (pairs in a row of all heads), k_head_pairs, v_head_pairs (of a head), k_offset, k_stride, v_offset, v_stride;
// parts rows.wgsl, place.wgsl, cache-write.wgsl; k, v, keys, values.

#if cache_int8
fn append_key_quad(row: u32, place: u32, quad: u32) {
  let head = 2u * quad / k_head_pairs;
  let begin = k_offset + row * k_stride;
  var bits = 0u;
  for (var i = head * k_head_pairs; i < (head + 1u) * k_head_pairs; i++) {
    bits = largest_bits(bits, k[begin + i]);
  }
  let largest = bitcast<f32>(bits);
  keys[key_at(place) + quad] = to_quad(vec4<f32>(k[begin + 2u * quad], k[begin + 2u * quad + 1u]), largest);
  keys[key_scale_at(place, head)] = bits;
}

fn append_value_quad(row: u32, place: u32, quad: u32) {
  let head = 2u * quad / v_head_pairs;
  let begin = v_offset + row * v_stride;
  var bits = 0u;
  for (var i = head * v_head_pairs; i < (head + 1u) * v_head_pairs; i++) {
    bits = largest_bits(bits, v[begin + i]);
  }
  let largest = bitcast<f32>(bits);
  values[value_at(place) + quad] = to_quad(vec4<f32>(v[begin + 2u * quad], v[begin + 2u * quad + 1u]), largest);
  values[value_scale_at(place, head)] = bits;
}
#endif

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = id.y;
  let place = place_of(slot_of(row), position_of(row));
#if cache_int8
  if (id.x < k_pairs / 2u) {
    append_key_quad(row, place, id.x);
  } else if (id.x < (k_pairs + v_pairs) / 2u) {
    append_value_quad(row, place, id.x - k_pairs / 2u);
  }
#else
  if (id.x < k_pairs) {
    keys[key_at(place) + id.x] = to_cache(k[k_offset + row * k_stride + id.x]);
  } else if (id.x < k_pairs + v_pairs) {
    let pair = id.x - k_pairs;
    values[value_at(place) + pair] = to_cache(v[v_offset + row * v_stride + pair]);
  }
#endif
}
