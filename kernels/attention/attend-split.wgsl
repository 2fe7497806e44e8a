// partials[r, h, s] = (sum_t 2^(score_t - largest) values[t, g], largest, sum_t 2^(score_t - largest)) over the positions t of
// split s that row r sees, score_t = scale * q[r, h] . keys[t, g] in units of ln 2. Without any: (0, lowest, 0).
// A workgroup has one split of one kv head g and up to `num_queries` queries (a query is a row and a head of the group that
// shares g, numbered row * group_heads + head), so that keys and values are read once for all of them.
//
// The split is walked in tiles of tile_keys positions, in three stages:
//   1. `parts` neighbouring lanes share a position and take turns along k_dim: partial scores;
//   2. one lane for every query and stream adds them up; a stream is every num_streams-th position, with its own largest
//      score and sum, so that no stage has to look at all positions;
//   3. v_units neighbouring lanes are a stream and share its positions' values, a unit of v_dim each: weighted sums.
// In the end the streams are brought to one scale and added in order.
// Layout: q rows of heads; caches [capacity, kv_heads, dim] in units of cache_vec4s vec4; partials rows of
// [heads, max_splits, width]. Offsets and strides of q in vec4.
// Expects: num_queries, group_heads, num_kv_heads, k_units, v_units (units per head), parts, tile_keys, num_streams (a
// power of two), num_floats (size of `floats`), turn_queries (queries whose streams fit in `floats` at a time), scale
// (with log2 e), q_offset, q_stride, partials_stride, width; alias cache_unit (a load); parts cache.wgsl and split.wgsl;
// q, keys, values, partials.

const threads = 128u;
const lowest = -3.402823466e38;
const k_vec4s = k_units * cache_vec4s;
const v_dim = v_units * cache_vec4s * 4u;
const lane_keys = tile_keys * parts / threads; // positions of a lane in stage 1
const stream_keys = tile_keys / num_streams; // and of a stream in a tile
const padded_threads = threads + 1u; // keeps the lanes of stage 3 off each other's banks

var<workgroup> q_tile: array<vec4<f32>, num_queries * k_vec4s>; // [query][k4]
var<workgroup> floats: array<f32, num_floats>; // [query][position][part]; in the end [value of a unit][lane]
var<workgroup> weights: array<f32, tile_keys * num_queries>; // [position][query]
var<workgroup> shrinks: array<f32, num_streams * num_queries>; // [stream][query]; in the end sums
var<workgroup> largests: array<f32, num_streams * num_queries>; // [stream][query]

@compute @workgroup_size(threads)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let split = group.x;
  let kv_head = group.y;
  let first = group.z * num_queries;
  let all_queries = step.rows * group_heads;
  let length = split_length();
  let split_begin = split * length;
  let split_end = min(split_begin + length, step.position + step.rows);

  for (var i = lane; i < num_queries * k_vec4s; i += threads) {
    let query = first + i / k_vec4s;
    var value = vec4<f32>(0.0);
    if (query < all_queries) {
      let head = kv_head * group_heads + query % group_heads;
      value = q[q_offset + query / group_heads * q_stride + head * k_vec4s + i % k_vec4s] * scale;
    }
    q_tile[i] = value;
  }
  workgroupBarrier();

  // Stage 2: this lane's query and stream.
  let my_query = lane / num_streams;
  let my_stream = lane % num_streams;
  let my_sees = step.position + (first + my_query) / group_heads + 1u;
  var largest = lowest;
  var sum = 0.0;
  // Stage 3: this lane's stream and unit. Lanes behind the last stream work on the last one, for nothing.
  let stream = min(lane / v_units, num_streams - 1u);
  let unit = lane % v_units;
  var result: array<vec4<f32>, num_queries * cache_vec4s>;

  for (var begin = split_begin; begin < split_end; begin += tile_keys) {
    let count = min(tile_keys, split_end - begin);

    var scores: array<f32, lane_keys * num_queries>;
    for (var k_unit = lane % parts; k_unit < k_units; k_unit += parts) {
      for (var i = 0u; i < lane_keys; i++) {
        // Positions behind the end are never looked at below; reading the last one instead costs nothing.
        let position = begin + min(lane / parts + i * (threads / parts), count - 1u);
        let key = unpack(keys[(position * num_kv_heads + kv_head) * k_units + k_unit]);
        for (var query = 0u; query < num_queries; query++) {
          for (var n = 0u; n < cache_vec4s; n++) {
            scores[i * num_queries + query] += dot(q_tile[query * k_vec4s + k_unit * cache_vec4s + n], key[n]);
          }
        }
      }
    }
    for (var i = 0u; i < lane_keys; i++) {
      for (var query = 0u; query < num_queries; query++) {
        floats[query * (tile_keys * parts) + i * threads + lane] = scores[i * num_queries + query];
      }
    }
    // On their way while the weights are computed.
    var loaded: array<cache_unit, stream_keys>;
    for (var i = 0u; i < stream_keys; i++) {
      let position = begin + min(stream + i * num_streams, count - 1u);
      loaded[i] = values[(position * num_kv_heads + kv_head) * v_units + unit];
    }
    workgroupBarrier();

    if (my_query < num_queries) {
      let seen = min(split_end, max(my_sees, begin)) - begin;
      var sums: array<f32, stream_keys>;
      var best = largest;
      for (var i = 0u; i < stream_keys; i++) {
        let key = my_stream + i * num_streams;
        if (key < seen) {
          var score = 0.0;
          for (var part = 0u; part < parts; part++) {
            score += floats[(my_query * tile_keys + key) * parts + part];
          }
          sums[i] = score;
          best = max(best, score);
        }
      }
      let shrink = exp2(largest - best);
      largest = best;
      sum *= shrink;
      for (var i = 0u; i < stream_keys; i++) {
        let key = my_stream + i * num_streams;
        var weight = 0.0;
        if (key < seen) {
          weight = exp2(sums[i] - best);
        }
        sum += weight;
        weights[key * num_queries + my_query] = weight;
      }
      shrinks[my_stream * num_queries + my_query] = shrink;
    }
    workgroupBarrier();

    for (var query = 0u; query < num_queries; query++) {
      let shrink = shrinks[stream * num_queries + query];
      for (var n = 0u; n < cache_vec4s; n++) {
        result[query * cache_vec4s + n] *= shrink;
      }
    }
    for (var i = 0u; i < stream_keys; i++) {
      let value = unpack(loaded[i]);
      for (var query = 0u; query < num_queries; query++) {
        let weight = weights[(stream + i * num_streams) * num_queries + query];
        for (var n = 0u; n < cache_vec4s; n++) {
          result[query * cache_vec4s + n] += weight * value[n];
        }
      }
    }
  }

  workgroupBarrier();
  if (my_query < num_queries) {
    largests[my_stream * num_queries + my_query] = largest;
    shrinks[my_stream * num_queries + my_query] = sum;
  }
  for (var turn = 0u; turn < num_queries; turn += turn_queries) {
    workgroupBarrier();
    for (var query = 0u; query < num_queries; query++) {
      if (query >= turn && query < turn + turn_queries) {
        let shrink = exp2(largests[stream * num_queries + query] - largest_of(query));
        for (var n = 0u; n < cache_vec4s; n++) {
          let value = result[query * cache_vec4s + n] * shrink;
          let at = ((query - turn) * cache_vec4s + n) * 4u * padded_threads + lane;
          floats[at] = value.x;
          floats[at + padded_threads] = value.y;
          floats[at + 2u * padded_threads] = value.z;
          floats[at + 3u * padded_threads] = value.w;
        }
      }
    }
    workgroupBarrier();
    for (var i = lane; i < turn_queries * (v_dim + 2u); i += threads) {
      let query = turn + i / (v_dim + 2u);
      let column = i % (v_dim + 2u);
      let number = first + query;
      if (query < num_queries && number < all_queries) {
        let head = kv_head * group_heads + number % group_heads;
        let begin = number / group_heads * partials_stride + (head * max_splits + split) * width;
        partials[begin + column] = total(query, query - turn, column);
      }
    }
  }
}

fn largest_of(query: u32) -> f32 {
  var largest = lowest;
  for (var stream = 0u; stream < num_streams; stream++) {
    largest = max(largest, largests[stream * num_queries + query]);
  }
  return largest;
}

// One value of a partial result: a column of the weighted sum, the largest score, or the sum of weights.
fn total(query: u32, slot: u32, column: u32) -> f32 {
  let largest = largest_of(query);
  if (column == v_dim) {
    return largest;
  }
  const unit_values = cache_vec4s * 4u;
  let begin = (slot * unit_values + column % unit_values) * padded_threads + column / unit_values;
  var sum = 0.0;
  for (var stream = 0u; stream < num_streams; stream++) {
    if (column < v_dim) {
      sum += floats[begin + stream * v_units];
    } else {
      let at = stream * num_queries + query;
      sum += shrinks[at] * exp2(largests[at] - largest);
    }
  }
  return sum;
}
