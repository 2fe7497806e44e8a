// For every head of a row of q, k and v, in one dispatch:
//   out[r, h] = rope(norm(q[r, h])),  keys[place of r, g] = rope(norm(k[r, g])),  values[place of r, g] = v[r, g]
//   norm(x) = x / sqrt(mean(x^2) + eps) * weight; with flag mixes, what was rotated is mixed as in mix.wgsl
// Layout: q, k, v are views of the rows of `qkv`. Heads are counted q first, then k, then v; `lanes` lanes share a head,
// one unit each (rotate.wgsl). Strides and offsets in vec2; caches as in cache-write.wgsl.
// Expects: threads, lanes, num_heads, num_kv_heads, k_units, v_units (units per head), k_dim, eps, q_offset, k_offset,
// v_offset, qkv_stride, out_offset, out_stride; flags norm and mixes; parts rows.wgsl, place.wgsl, cache-write.wgsl, with mixes
// mix.wgsl; qkv, keys, values, out, and with norm q_norm, k_norm.

#if norm
var<workgroup> squares: array<f32, threads>;
#endif
#if cache_int8
var<workgroup> staged: array<vec2<f32>, 2u * threads>; // of each lane's head, its values in order
#endif

// A lane's part of a head.
struct Head {
  index: u32, // among those of its kind
  unit: u32,
  is_query: bool,
  is_key: bool,
  is_value: bool,
}

fn head_of(number: u32, unit: u32) -> Head {
  let is_query = number < num_heads;
  let is_key = !is_query && number < num_heads + num_kv_heads;
  let is_value = number >= num_heads + num_kv_heads && number < num_heads + 2u * num_kv_heads;
  let index = number - select(select(num_heads + num_kv_heads, num_heads, is_key), 0u, is_query);
  return Head(index, unit, is_query && unit < k_units, is_key && unit < k_units, is_value && unit < v_units);
}

// Of values the unit is four neighbours, since nothing rotates them.
fn places_of(head: Head) -> vec2<u32> {
  return select(unit_places(head.unit), vec2<u32>(2u * head.unit, 2u * head.unit + 1u), head.is_value);
}

fn load_unit(head: Head, row: u32) -> Unit {
  let places = places_of(head);
  var begin = row * qkv_stride;
  if (head.is_query) {
    begin += q_offset + head.index * 2u * k_units;
  } else if (head.is_key) {
    begin += k_offset + head.index * 2u * k_units;
  } else if (head.is_value) {
    begin += v_offset + head.index * 2u * v_units;
  } else {
    return Unit(vec2<f32>(0.0), vec2<f32>(0.0));
  }
  return Unit(qkv[begin + places.x], qkv[begin + places.y]);
}

#if norm
fn normed(head: Head, x: Unit, lane: u32) -> Unit {
  squares[lane] = dot(x.a, x.a) + dot(x.b, x.b);
  workgroupBarrier();
  let first = lane - head.unit;
  var sum = 0.0;
  for (var i = first; i < first + lanes; i++) {
    sum += squares[i];
  }
  let scale = inverseSqrt(sum / f32(k_dim) + eps);
  let places = places_of(head);
  if (head.is_query) {
    return Unit(x.a * scale * q_norm[places.x], x.b * scale * q_norm[places.y]);
  }
  if (head.is_key) {
    return Unit(x.a * scale * k_norm[places.x], x.b * scale * k_norm[places.y]);
  }
  return x;
}
#endif

#if mixes
// By all lanes together.
fn mixed_unit(head: Head, x: Unit, lane: u32) -> Unit {
  let begin = 4u * (lane - head.unit);
  let a = begin + 2u * places_of(head).x;
  let b = begin + 2u * places_of(head).y;
  let is_mixed = head.is_query || head.is_key;
  if (is_mixed) {
    mixed[a] = mix_scale * x.a.x;
    mixed[a + 1u] = mix_scale * x.a.y;
    mixed[b] = mix_scale * x.b.x;
    mixed[b + 1u] = mix_scale * x.b.y;
  }
  mix_heads(begin, head.unit, is_mixed);
  if (!is_mixed) {
    return x;
  }
  return Unit(vec2<f32>(mixed[a], mixed[a + 1u]), vec2<f32>(mixed[b], mixed[b + 1u]));
}
#endif

#if cache_int8
// By all lanes together: the values of a head come in order, and with their largest magnitude.
fn store_unit(head: Head, x: Unit, place: u32, lane: u32) {
  let first = 2u * (lane - head.unit);
  let places = places_of(head);
  if (head.is_key || head.is_value) {
    staged[first + places.x] = x.a;
    staged[first + places.y] = x.b;
  }
  workgroupBarrier();
  if (!(head.is_key || head.is_value)) {
    return;
  }
  var bits = 0u;
  for (var i = 0u; i < 2u * select(k_units, v_units, head.is_value); i++) {
    bits = largest_bits(bits, staged[first + i]);
  }
  let quad = to_quad(
    vec4<f32>(staged[first + 2u * head.unit], staged[first + 2u * head.unit + 1u]),
    bitcast<f32>(bits),
  );
  if (head.is_key) {
    keys[key_at(place) + head.index * k_units + head.unit] = quad;
    keys[key_scale_at(place, head.index)] = bits;
  } else {
    values[value_at(place) + head.index * v_units + head.unit] = quad;
    values[value_scale_at(place, head.index)] = bits;
  }
}
#else
fn store_unit(head: Head, x: Unit, place: u32, lane: u32) {
  let places = places_of(head);
  if (head.is_key) {
    let begin = key_at(place) + head.index * 2u * k_units;
    keys[begin + places.x] = to_cache(x.a);
    keys[begin + places.y] = to_cache(x.b);
  } else if (head.is_value) {
    let begin = value_at(place) + head.index * 2u * v_units;
    values[begin + places.x] = to_cache(x.a);
    values[begin + places.y] = to_cache(x.b);
  }
}
#endif

@compute @workgroup_size(threads)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = group.y;
  let head = head_of(group.x * (threads / lanes) + lane / lanes, lane % lanes);
  var x = load_unit(head, row);
#if norm
  x = normed(head, x, lane);
#endif
  if (head.is_query || head.is_key) {
    x = rotate(x, head.unit, row);
  }
#if mixes
  x = mixed_unit(head, x, lane);
#endif
  if (head.is_query) {
    let places = places_of(head);
    let begin = out_offset + row * out_stride + head.index * 2u * k_units;
    out[begin + places.x] = x.a;
    out[begin + places.y] = x.b;
  }
  store_unit(head, x, place_of(slot_of(row), position_of(row)), lane);
}
