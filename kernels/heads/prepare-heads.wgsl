// For every head of a row of q, k and v, in one dispatch:
//   out[r, h] = rope(norm(q[r, h])),  keys[position + r, g] = rope(norm(k[r, g])),  values[position + r, g] = v[r, g]
//   norm(x) = x / sqrt(mean(x^2) + eps) * weight
// Layout: q, k, v are views of the rows of `qkv`. Heads are counted q first, then k, then v; `lanes` lanes share a head,
// one unit each (rotate.wgsl). Strides and offsets in vec2; caches in pairs, [capacity, kv_heads, dim] without padding.
// Expects: threads, lanes, num_heads, num_kv_heads, k_units, v_units (units per head), k_dim, eps, q_offset, k_offset,
// v_offset, qkv_stride, angles_offset, angles_stride, out_offset, out_stride; flag norm; qkv, angles, keys, values, out,
// and with norm q_norm, k_norm.

#if norm
var<workgroup> squares: array<f32, threads>;
#endif

@compute @workgroup_size(threads)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = group.y;
  let index = group.x * (threads / lanes) + lane / lanes;
  let unit = lane % lanes;
  let is_query = index < num_heads;
  let is_key = !is_query && index < num_heads + num_kv_heads;
  let is_value = index >= num_heads + num_kv_heads && index < num_heads + 2u * num_kv_heads;
  let is_rotated = (is_query || is_key) && unit < k_units;

  var x = Unit(vec2<f32>(0.0), vec2<f32>(0.0));
  let row_begin = row * qkv_stride;
  if (is_rotated) {
    let places = unit_places(unit);
    let begin = row_begin + select(
      k_offset + (index - num_heads) * 2u * k_units,
      q_offset + index * 2u * k_units,
      is_query,
    );
    x = Unit(qkv[begin + places.x], qkv[begin + places.y]);
  } else if (is_value && unit < v_units) {
    let head = index - num_heads - num_kv_heads;
    let begin = row_begin + v_offset + head * 2u * v_units + 2u * unit;
    let pair = ((step.position + row) * num_kv_heads + head) * 2u * v_units + 2u * unit;
    values[pair] = to_cache(qkv[begin]);
    values[pair + 1u] = to_cache(qkv[begin + 1u]);
  }

#if norm
  squares[lane] = dot(x.a, x.a) + dot(x.b, x.b);
  workgroupBarrier();
  var sum = 0.0;
  for (var i = lane - unit; i < lane - unit + lanes; i++) {
    sum += squares[i];
  }
  let scale = inverseSqrt(sum / f32(k_dim) + eps);
#endif

  if (is_rotated) {
    let places = unit_places(unit);
#if norm
    if (is_query) {
      x = Unit(x.a * scale * q_norm[places.x], x.b * scale * q_norm[places.y]);
    } else {
      x = Unit(x.a * scale * k_norm[places.x], x.b * scale * k_norm[places.y]);
    }
#endif
    x = rotate(x, unit, angles_offset + row * angles_stride);
    if (is_query) {
      let begin = out_offset + row * out_stride + index * 2u * k_units;
      out[begin + places.x] = x.a;
      out[begin + places.y] = x.b;
    } else {
      let begin = ((step.position + row) * num_kv_heads + index - num_heads) * 2u * k_units;
      keys[begin + places.x] = to_cache(x.a);
      keys[begin + places.y] = to_cache(x.b);
    }
  }
}
