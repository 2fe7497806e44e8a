// keys[step.position + r] = k[r], values[step.position + r] = v[r].
// Layout: caches [capacity, kv_heads, dim] without padding, in pairs of values; one lane per pair. Strides in vec2.
// Expects: k_pairs, v_pairs (pairs in a row of all heads), k_offset, k_stride, v_offset, v_stride; k, v, keys, values.

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = id.y;
  let position = step.position + row;
  if (id.x < k_pairs) {
    keys[position * k_pairs + id.x] = to_cache(k[k_offset + row * k_stride + id.x]);
  } else if (id.x < k_pairs + v_pairs) {
    let pair = id.x - k_pairs;
    values[position * v_pairs + pair] = to_cache(v[v_offset + row * v_stride + pair]);
  }
}
