// out[r, h] = sum_t softmax_t(scale * q[r, h] . keys[t, g]) values[t, g] over positions t <= step.position + r.
// Flash attention: a workgroup has a tile of queries of one kv head g and walks over the context in tiles of positions,
// keeping for every query the largest score so far, the sum of exponentials and the weighted sum of values.
// A query is a row and a head of the group that shares g, numbered row * group_heads + head, so that all of them share the
// tiles in workgroup memory. Scores are in units of ln 2: exponentials are exp2.
// With `partial` it walks over one split of the context and leaves (weighted sum, largest score, sum of exponentials)
// instead of the quotient; without any position that a query sees (0, lowest, 0).
//
// Lane (y, x) has queries y + lanes_y * i (i < 4, the components of a vec4), the positions x + lanes_x * i (i < key_cols)
// of a tile, and the columns x + lanes_x * j (in vec4, j < v_cols) of the output. 32 neighbouring lanes are 4 y by 8 x,
// so that what a subgroup reads from workgroup memory is few different vec4s.
// Layout: q rows of heads; caches as in cache.wgsl; partial results rows of [heads, max_splits, v_dim + 4]. Offsets and
// strides in vec4.
// Expects: lanes_y (a multiple of 4), lanes_x (a multiple of 8), key_cols, v_cols, num_kv_heads, group_heads, v_keys (positions of a
// chunk of values: a power of two, a divisor of the tile's positions, with v_keys * v_cols * lanes_x <= 512), scale (with
// log2 e), q_offset, q_stride, out_offset, out_stride; part cache.wgsl; q, keys, values, out. Flag partial: part split.wgsl.

const threads = lanes_y * lanes_x;
const tile_queries = 4u * lanes_y;
const tile_keys = lanes_x * key_cols;
const chunk = 8u; // vec4s of k_dim in workgroup memory at a time
const maxima = min(tile_keys * chunk, 512u - threads); // where they begin in `right`
const lowest = -3.402823466e38;
const k_vec4s = k_units * cache_vec4s;
const v_vec4s = v_units * cache_vec4s;

// [k4][query]: a chunk of q; then [position][y]: weights of 4 queries.
var<workgroup> left: array<vec4<f32>, max(tile_queries * chunk, tile_keys * lanes_y)>;
var<workgroup> right: array<vec4<f32>, 512>; // [k4][position]: a chunk of keys; then [y][x]: maxima; then values

// Keeps lanes that write one query and lanes that read one k4 off each other's banks. Only the lowest bits of index
// change, so that `index + lanes_y` and `index + lanes_x` lie as much further on.
fn swizzle(k4: u32, width: u32, index: u32) -> u32 {
  return k4 * width + (index ^ (k4 % min(8u, lanes_y)));
}

@compute @workgroup_size(threads)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let y = lane / 8u % 4u + lane / (4u * lanes_x) * 4u;
  let x = lane % 8u + lane / 32u % (lanes_x / 8u) * 8u;
  let kv_head = group.y;
  let num_queries = step.rows * group_heads;
#if partial
  let first = group.z * tile_queries;
  let walk_begin = group.x * split_length();
  let walk_end = walk_begin + split_length();
#else
  // The last queries see most: they start first.
  let first = ((num_queries + tile_queries - 1u) / tile_queries - 1u - group.x) * tile_queries;
  let walk_begin = 0u;
  let walk_end = step.position + step.rows;
#endif
  let last = min(first + tile_queries, num_queries) - 1u;
  let end = min(step.position + last / group_heads + 1u, walk_end);
  let all_see = min(step.position + first / group_heads + 1u, walk_end);
  let queries = vec4<u32>(first + y) + lanes_y * vec4<u32>(0u, 1u, 2u, 3u);
  let sees = min(vec4<u32>(step.position + 1u) + queries / group_heads, vec4<u32>(walk_end));

  var largest = vec4<f32>(lowest);
  var sum = vec4<f32>(0.0);
  var out0: array<vec4<f32>, v_cols>;
  var out1: array<vec4<f32>, v_cols>;
  var out2: array<vec4<f32>, v_cols>;
  var out3: array<vec4<f32>, v_cols>;

  for (var begin = walk_begin; begin < end; begin += tile_keys) {
    var scores = array<vec4<f32>, key_cols>();
    // Starts at 0, which compilers do not know: unrolled it would gain nothing and cost seconds of compilation.
    for (var k_begin = kv_head / num_kv_heads; k_begin < k_vec4s; k_begin += chunk) {
      workgroupBarrier();
      for (var i = lane; i < tile_queries * chunk; i += threads) {
        let query = first + i / chunk;
        let k4 = k_begin + i % chunk;
        var value = vec4<f32>(0.0);
        if (query < num_queries && k4 < k_vec4s) {
          let head = kv_head * group_heads + query % group_heads;
          value = q[q_offset + query / group_heads * q_stride + head * k_vec4s + k4] * scale;
        }
        left[swizzle(i % chunk, tile_queries, i / chunk)] = value;
      }
      const chunk_units = chunk / cache_vec4s;
      for (var i = lane; i < tile_keys * chunk_units; i += threads) {
        let key = i / chunk_units;
        let unit = k_begin / cache_vec4s + i % chunk_units;
        var loaded = array<vec4<f32>, cache_vec4s>();
        if (begin + key < end && unit < k_units) {
          loaded = unpack(keys[keys_begin(begin + key, kv_head) + unit]);
        }
        for (var n = 0u; n < cache_vec4s; n++) {
          right[swizzle(i % chunk_units * cache_vec4s + n, tile_keys, key)] = loaded[n];
        }
      }
      workgroupBarrier();
      let k_count = min(chunk, k_vec4s - k_begin);
      for (var k4 = 0u; k4 < k_count; k4++) {
        let q_at = swizzle(k4, tile_queries, y);
        let q0 = left[q_at];
        let q1 = left[q_at + lanes_y];
        let q2 = left[q_at + 2u * lanes_y];
        let q3 = left[q_at + 3u * lanes_y];
        let key_at = swizzle(k4, tile_keys, x);
        for (var i = 0u; i < key_cols; i++) {
          let key = right[key_at + lanes_x * i];
          scores[i] += vec4<f32>(dot(q0, key), dot(q1, key), dot(q2, key), dot(q3, key));
        }
      }
    }

    // The largest score of every query, over the lanes that have its positions.
    let is_masked = begin + tile_keys > all_see;
    var best = largest;
    for (var i = 0u; i < key_cols; i++) {
      if (is_masked) {
        scores[i] = select(scores[i], vec4<f32>(lowest), vec4<u32>(begin + x + lanes_x * i) >= sees);
      }
      best = max(best, scores[i]);
    }
    if (maxima < tile_keys * chunk) {
      workgroupBarrier();
    }
    right[maxima + y * lanes_x + x] = best;
    workgroupBarrier();
    for (var i = maxima + y * lanes_x; i < maxima + (y + 1u) * lanes_x; i++) {
      best = max(best, right[i]);
    }
    let shrink = exp2(largest - best);
    largest = best;
    sum *= shrink;
    for (var i = 0u; i < key_cols; i++) {
      var weight = exp2(scores[i] - best);
      if (is_masked) {
        weight = select(weight, vec4<f32>(0.0), vec4<u32>(begin + x + lanes_x * i) >= sees);
      }
      sum += weight;
      left[(x + lanes_x * i) * lanes_y + y] = weight;
    }
    for (var j = 0u; j < v_cols; j++) {
      out0[j] *= shrink.x;
      out1[j] *= shrink.y;
      out2[j] *= shrink.z;
      out3[j] *= shrink.w;
    }

    let count = min(tile_keys, end - begin);
    for (var v_begin = 0u; v_begin < count; v_begin += v_keys) {
      workgroupBarrier();
      for (var i = lane; i < v_keys * v_units; i += threads) {
        let key = i / v_units;
        let unit = i % v_units;
        let position = begin + v_begin + key;
        var loaded = array<vec4<f32>, cache_vec4s>();
        if (v_begin + key < count) {
          loaded = unpack(values[values_begin(position, kv_head) + unit]);
        }
        for (var n = 0u; n < cache_vec4s; n++) {
          right[key * v_cols * lanes_x + unit * cache_vec4s + n] = loaded[n];
        }
      }
      workgroupBarrier();
      let v_count = min(v_keys, count - v_begin);
      for (var key = 0u; key < v_count; key++) {
        let weight = left[(v_begin + key) * lanes_y + y];
        let value_at = key * v_cols * lanes_x + x;
        if (is_masked) {
          // A weight of 0 would not do: the NaN of a later row must not reach this one.
          let is_seen = vec4<u32>(begin + v_begin + key) < sees;
          for (var j = 0u; j < v_cols; j++) {
            let value = right[value_at + j * lanes_x];
            out0[j] += select(vec4<f32>(0.0), weight.x * value, is_seen.x);
            out1[j] += select(vec4<f32>(0.0), weight.y * value, is_seen.y);
            out2[j] += select(vec4<f32>(0.0), weight.z * value, is_seen.z);
            out3[j] += select(vec4<f32>(0.0), weight.w * value, is_seen.w);
          }
        } else {
          for (var j = 0u; j < v_cols; j++) {
            let value = right[value_at + j * lanes_x];
            out0[j] += weight.x * value;
            out1[j] += weight.y * value;
            out2[j] += weight.z * value;
            out3[j] += weight.w * value;
          }
        }
      }
    }
  }

  workgroupBarrier();
  right[y * lanes_x + x] = sum;
  workgroupBarrier();
  sum = vec4<f32>(0.0);
  for (var i = y * lanes_x; i < (y + 1u) * lanes_x; i++) {
    sum += right[i];
  }
  for (var i = 0u; first + y + lanes_y * i <= last; i++) {
    let query = first + y + lanes_y * i;
    let head = kv_head * group_heads + query % group_heads;
#if partial
    let begin = query / group_heads * out_stride + (head * max_splits + group.x) * (v_vec4s + 1u);
    let divisor = 1.0;
    if (x == 0u) {
      out[begin + v_vec4s] = vec4<f32>(largest[i], sum[i], 0.0, 0.0);
    }
#else
    let begin = out_offset + query / group_heads * out_stride + head * v_vec4s;
    let divisor = sum[i];
#endif
    for (var j = 0u; j < v_cols; j++) {
      let low = select(out0[j], out1[j], i == 1u);
      let high = select(out2[j], out3[j], i == 3u);
      if (x + lanes_x * j < v_vec4s) {
        out[begin + x + lanes_x * j] = select(low, high, i > 1u) / divisor;
      }
    }
  }
}
