// partials[r, h, s] = (sum_t 2^(score_t - largest) values[t, g], largest, sum_t 2^(score_t - largest)) over the positions t of
// split s that row r sees, score_t = scale * q[r, h] . keys[t, g] in units of ln 2. Without any: (0, lowest, 0).
// A workgroup has one split of one kv head g and up to `num_queries` queries (a query is a row and a head of the group that
// shares g, numbered row * group_heads + head), so that keys and values come from memory once for all of them.
//
// The split is walked in tiles of 64 positions, in three stages:
//   1. four neighbouring lanes share a position and take turns along k_dim; a load of keys serves all queries;
//   2. the four partial scores of every query and position are added up;
//   3. v_units neighbouring lanes share a stream: a query, and every num_streams-th of its positions. They keep the largest
//      score so far, the sum of exponentials, and a unit of the weighted sum of values each.
// In the end the streams of a query are brought to one scale and added in order.
// Layout: q rows of heads; caches as in cache.wgsl; partials rows of [heads, max_splits, width]. Offsets and strides of q
// in vec4.
// Expects: num_queries, block_queries (a divisor of num_queries), group_heads, num_streams (of a query), num_floats (size
// of `floats`), scale (with log2 e), q_offset, q_stride, partials_stride, width; alias cache_unit (a load); parts
// cache.wgsl and split.wgsl; q, keys, values, partials.

const threads = 256u;
const tile_keys = 64u;
const parts = 4u;
const part_stride = tile_keys + 8u; // keeps the parts of a position off each other's banks
const query_stride = parts * part_stride;
const part_units = (k_units + parts - 1u) / parts;
const batch = 4u; // values on their way to a lane at a time
const lowest = -3.402823466e38;
const k_vec4s = k_units * cache_vec4s;
const unit_values = cache_vec4s * 4u;
const v_dim = v_units * unit_values;

var<workgroup> q_tile: array<vec4<f32>, num_queries * k_vec4s>; // [query][k4]
var<workgroup> floats: array<f32, num_floats>; // [query][part][position]: scores; in the end [value][lane]: sums
var<workgroup> scales: array<vec2<f32>, num_queries * num_streams>; // [query][stream]: largest score, sum of exponentials

@compute @workgroup_size(threads)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let split = group.x;
  let kv_head = group.y;
  let first = group.z * num_queries;
  let all_queries = step.rows * group_heads;
  let count = min(num_queries, all_queries - first);
  let length = split_length();
  let split_begin = split * length;
  let split_end = min(split_begin + length, step.position + step.rows);

  for (var i = lane; i < num_queries * k_vec4s; i += threads) {
    let number = first + i / k_vec4s;
    var value = vec4<f32>(0.0);
    if (number < all_queries) {
      let head = kv_head * group_heads + number % group_heads;
      value = q[q_offset + number / group_heads * q_stride + head * k_vec4s + i % k_vec4s] * scale;
    }
    q_tile[i] = value;
  }

  let unit = lane % v_units;
  let query = lane / v_units % num_queries;
  let stream = lane / (v_units * num_queries);
  // Lanes behind the last stream or query see nothing.
  let sees = select(0u, step.position + (first + query) / group_heads + 1u, stream < num_streams && query < count);
  var largest = lowest;
  var sum = 0.0;
  var result = array<vec4<f32>, cache_vec4s>();

  for (var begin = split_begin; begin < split_end; begin += tile_keys) {
    workgroupBarrier();
    let part = lane % parts;
    let key = lane / parts;
    if (begin + key < split_end) {
      let key_begin = keys_begin(begin + key, kv_head);
      for (var block = 0u; block < count; block += block_queries) {
        var scores = array<f32, block_queries>();
        for (var k_unit = part; k_unit < part + part_units * parts; k_unit += parts) {
          if (k_unit < k_units) {
            let loaded = unpack(keys[key_begin + k_unit]);
            for (var n = 0u; n < cache_vec4s; n++) {
              for (var j = 0u; j < block_queries; j++) {
                scores[j] += dot(q_tile[(block + j) * k_vec4s + k_unit * cache_vec4s + n], loaded[n]);
              }
            }
          }
        }
        for (var j = 0u; j < block_queries; j++) {
          floats[(block + j) * query_stride + part * part_stride + key] = scores[j];
        }
      }
    }
    workgroupBarrier();
    for (var i = lane; i < count * tile_keys; i += threads) {
      let at = i / tile_keys * query_stride + i % tile_keys;
      floats[at] += floats[at + part_stride] + floats[at + 2u * part_stride] + floats[at + 3u * part_stride];
    }
    workgroupBarrier();
    let end = min(min(sees, split_end), begin + tile_keys);
    for (var position = begin + stream; position < end; position += batch * num_streams) {
      var loaded = array<cache_unit, batch>();
      for (var i = 0u; i < batch; i++) {
        let clamped = min(position + i * num_streams, end - 1u);
        loaded[i] = values[values_begin(clamped, kv_head) + unit];
      }
      for (var i = 0u; i < batch; i++) {
        if (position + i * num_streams < end) {
          let score = floats[query * query_stride + position - begin + i * num_streams];
          if (score > largest) {
            let shrink = exp2(largest - score);
            largest = score;
            sum *= shrink;
            for (var n = 0u; n < cache_vec4s; n++) {
              result[n] *= shrink;
            }
          }
          let weight = exp2(score - largest);
          sum += weight;
          let value = unpack(loaded[i]);
          for (var n = 0u; n < cache_vec4s; n++) {
            result[n] += weight * value[n];
          }
        }
      }
    }
  }

  workgroupBarrier();
  for (var n = 0u; n < cache_vec4s; n++) {
    for (var i = 0u; i < 4u; i++) {
      floats[(n * 4u + i) * threads + lane] = result[n][i];
    }
  }
  if (unit == 0u && stream < num_streams) {
    scales[query * num_streams + stream] = vec2<f32>(largest, sum);
  }
  workgroupBarrier();
  for (var i = lane; i < count * (v_dim + 2u); i += threads) {
    let number = first + i / (v_dim + 2u);
    let head = kv_head * group_heads + number % group_heads;
    let begin = number / group_heads * partials_stride + (head * max_splits + split) * width;
    let column = i % (v_dim + 2u);
    partials[begin + column] = combined(i / (v_dim + 2u), column);
  }
}

// A column of a query's partial result: of its weighted sum, or the largest score, or the sum of exponentials.
fn combined(query: u32, column: u32) -> f32 {
  let begin = query * num_streams;
  var largest = lowest;
  for (var i = begin; i < begin + num_streams; i++) {
    largest = max(largest, scales[i].x);
  }
  if (column == v_dim) {
    return largest;
  }
  var at = column % unit_values * threads + query * v_units + column / unit_values;
  var sum = 0.0;
  for (var i = begin; i < begin + num_streams; i++) {
    var part = scales[i].y;
    if (column < v_dim) {
      part = floats[at];
    }
    sum += part * exp2(scales[i].x - largest);
    at += num_queries * v_units;
  }
  return sum;
}
