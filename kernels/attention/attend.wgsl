// out[r, h] = sum_t softmax_t(scale * q[r, h] . keys[t, g]) values[t, g] over positions t <= step.position + r.
// Flash attention: a workgroup has 64 queries of one kv head g and walks over the context in tiles of 32 positions,
// keeping for every query the largest score so far, the sum of exponentials and the weighted sum of values.
// A query is a row and a head of the group that shares g, numbered row * group_heads + head, so that all of them share the
// tiles in workgroup memory. Scores are in units of ln 2: exponentials are exp2.
//
// 128 lanes stand as 16 x 8: lane (y, x) has queries y + 16 i (i < 4, the components of a vec4), the positions x + 8 i of a
// tile, and the columns x + 8 j (in vec4) of the output.
// Layout: q rows of heads; caches [capacity, kv_heads, dim], read in units of cache_vec4s vec4; offsets and strides in vec4.
// Expects: num_kv_heads, group_heads, k_units, v_units (units per head), v_keys (positions of a chunk of values: a power of
// two up to 32 with v_keys * v_cols * 8 <= 512), v_cols (columns of a lane), scale (with log2 e), q_offset, q_stride,
// out_offset, out_stride; part cache.wgsl; q, keys, values, out.

const tile_keys = 32u;
const chunk = 8u; // vec4s of k_dim in workgroup memory at a time
const lowest = -3.402823466e38;
const k_vec4s = k_units * cache_vec4s;
const v_vec4s = v_units * cache_vec4s;

var<workgroup> left: array<vec4<f32>, 512>; // [k4][query]: a chunk of q; then [position][y]: weights of 4 queries
var<workgroup> right: array<vec4<f32>, 512>; // [k4][position]: a chunk of keys; behind it row maxima; then values

// Keeps lanes that write one query and lanes that read one k4 off each other's banks. k4 is below 8, so that
// `index + 8` lies 8 further on.
fn swizzle(k4: u32, width: u32, index: u32) -> u32 {
  return k4 * width + (index ^ k4);
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let y = lane / 8u;
  let x = lane % 8u;
  let kv_head = group.y;
  let num_queries = step.rows * group_heads;
  // The last queries see most: they start first.
  let first = ((num_queries + 63u) / 64u - 1u - group.x) * 64u;
  let end = step.position + (min(first + 64u, num_queries) - 1u) / group_heads + 1u;
  let all_see = step.position + first / group_heads + 1u;
  let queries = vec4<u32>(first + y) + vec4<u32>(0u, 16u, 32u, 48u);
  let sees = vec4<u32>(step.position + 1u) + queries / group_heads;

  var largest = vec4<f32>(lowest);
  var sum = vec4<f32>(0.0);
  var out0: array<vec4<f32>, v_cols>;
  var out1: array<vec4<f32>, v_cols>;
  var out2: array<vec4<f32>, v_cols>;
  var out3: array<vec4<f32>, v_cols>;

  for (var begin = 0u; begin < end; begin += tile_keys) {
    var scores = array<vec4<f32>, 4>();
    for (var k_begin = 0u; k_begin < k_vec4s; k_begin += chunk) {
      workgroupBarrier();
      for (var i = lane; i < 64u * chunk; i += 128u) {
        let query = first + i / chunk;
        let k4 = k_begin + i % chunk;
        var value = vec4<f32>(0.0);
        if (query < num_queries && k4 < k_vec4s) {
          let head = kv_head * group_heads + query % group_heads;
          value = q[q_offset + query / group_heads * q_stride + head * k_vec4s + k4] * scale;
        }
        left[swizzle(i % chunk, 64u, i / chunk)] = value;
      }
      const chunk_units = chunk / cache_vec4s;
      for (var i = lane; i < tile_keys * chunk_units; i += 128u) {
        let key = i / chunk_units;
        let unit = k_begin / cache_vec4s + i % chunk_units;
        var loaded = array<vec4<f32>, cache_vec4s>();
        if (begin + key < end && unit < k_units) {
          loaded = unpack(keys[((begin + key) * num_kv_heads + kv_head) * k_units + unit]);
        }
        for (var n = 0u; n < cache_vec4s; n++) {
          right[swizzle(i % chunk_units * cache_vec4s + n, tile_keys, key)] = loaded[n];
        }
      }
      workgroupBarrier();
      let k_count = min(chunk, k_vec4s - k_begin);
      for (var k4 = 0u; k4 < k_count; k4++) {
        let q_at = swizzle(k4, 64u, y);
        let q0 = left[q_at];
        let q1 = left[q_at + 16u];
        let q2 = left[q_at + 32u];
        let q3 = left[q_at + 48u];
        let key_at = swizzle(k4, tile_keys, x);
        for (var i = 0u; i < 4u; i++) {
          let key = right[key_at + 8u * i];
          scores[i] += vec4<f32>(dot(q0, key), dot(q1, key), dot(q2, key), dot(q3, key));
        }
      }
    }

    // The largest score of every query, over the 8 lanes that have its positions.
    let is_masked = begin + tile_keys > all_see;
    var best = largest;
    for (var i = 0u; i < 4u; i++) {
      if (is_masked) {
        scores[i] = select(scores[i], vec4<f32>(lowest), vec4<u32>(begin + x + 8u * i) >= sees);
      }
      best = max(best, scores[i]);
    }
    right[256u + lane] = best;
    workgroupBarrier();
    for (var i = 256u + y * 8u; i < 264u + y * 8u; i++) {
      best = max(best, right[i]);
    }
    let shrink = exp2(largest - best);
    largest = best;
    sum *= shrink;
    for (var i = 0u; i < 4u; i++) {
      var weight = exp2(scores[i] - best);
      if (is_masked) {
        weight = select(weight, vec4<f32>(0.0), vec4<u32>(begin + x + 8u * i) >= sees);
      }
      sum += weight;
      left[(x + 8u * i) * 16u + y] = weight;
    }
    for (var j = 0u; j < v_cols; j++) {
      out0[j] *= shrink.x;
      out1[j] *= shrink.y;
      out2[j] *= shrink.z;
      out3[j] *= shrink.w;
    }

    for (var v_begin = 0u; v_begin < tile_keys; v_begin += v_keys) {
      workgroupBarrier();
      for (var i = lane; i < v_keys * v_units; i += 128u) {
        let key = i / v_units;
        let unit = i % v_units;
        let position = begin + v_begin + key;
        var loaded = array<vec4<f32>, cache_vec4s>();
        if (position < end) {
          loaded = unpack(values[(position * num_kv_heads + kv_head) * v_units + unit]);
        }
        for (var n = 0u; n < cache_vec4s; n++) {
          right[key * v_cols * 8u + unit * cache_vec4s + n] = loaded[n];
        }
      }
      workgroupBarrier();
      let v_count = min(v_keys, max(end - begin, v_begin) - v_begin);
      for (var key = 0u; key < v_count; key++) {
        let weight = left[(v_begin + key) * 16u + y];
        for (var j = 0u; j < v_cols; j++) {
          let value = right[(key * v_cols + j) * 8u + x];
          out0[j] += weight.x * value;
          out1[j] += weight.y * value;
          out2[j] += weight.z * value;
          out3[j] += weight.w * value;
        }
      }
    }
  }

  workgroupBarrier();
  right[lane] = sum;
  workgroupBarrier();
  sum = vec4<f32>(0.0);
  for (var i = y * 8u; i < y * 8u + 8u; i++) {
    sum += right[i];
  }
  for (var i = 0u; first + y + 16u * i < min(first + 64u, num_queries); i++) {
    let query = first + y + 16u * i;
    let head = kv_head * group_heads + query % group_heads;
    let begin = out_offset + query / group_heads * out_stride + head * v_vec4s;
    for (var j = 0u; j < v_cols; j++) {
      let low = select(out0[j], out1[j], i == 1u);
      let high = select(out2[j], out3[j], i == 3u);
      if (x + 8u * j < v_vec4s) {
        out[begin + x + 8u * j] = select(low, high, i > 1u) / sum[i];
      }
    }
  }
}
