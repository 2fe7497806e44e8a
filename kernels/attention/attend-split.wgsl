// partials[r, h, s] = (sum_t 2^(score_t - largest) values[t, g], largest, sum_t 2^(score_t - largest)) over the positions t of
// split s that row r sees, score_t = scale * q[r, h] . keys[t, g] in units of ln 2. Without any: (0, lowest, 0).
// A workgroup has one split of one kv head g and up to `num_queries` queries (a query is a row and a head of the group that
// shares g, numbered row * group_heads + head) in blocks of `block_queries`: a value of the cache that a lane has loaded
// serves all queries of its block.
//
// The split is walked in tiles of tile_keys positions:
//   1. `parts` neighbouring lanes share a position and a block and take turns along k_dim, their part of q in registers;
//   2. the row_lanes lanes of a query add the parts up, find the largest score and turn each score into a weight;
//   3. v_units neighbouring lanes share a stream: a block, and every num_streams-th position. Each keeps the weighted sums
//      of a unit of the values.
// In the end the streams of a query are added in order.
// Layout: q rows of heads; caches as in cache.wgsl; partials rows of [heads, max_splits, width]. Offsets and strides of q
// in vec4.
// Expects: num_blocks, block_queries, parts and tile_keys (powers of two), group_heads, num_streams (of a block),
// num_floats (size of `floats`), scale (with log2 e), q_offset, q_stride, partials_stride, width; alias cache_unit (a
// load); parts cache.wgsl and split.wgsl; q, keys, values, partials.

const threads = 256u;
const num_queries = num_blocks * block_queries;
const slots = threads / (parts * num_blocks); // positions whose scores are computed at a time
const part_units = (k_units + parts - 1u) / parts;
const is_even = k_units % parts == 0u; // every lane of a position has as many units
const part_stride = tile_keys + 32u / parts; // keeps the parts of a position off each other's banks
const query_stride = parts * part_stride;
const row_lanes = threads / num_queries;
const num_tops = 8u; // of a query: lanes that look for its largest score among the row_lanes
const batch = 2u; // units on their way to a lane at a time
const lowest = -3.402823466e38;
const k_vec4s = k_units * cache_vec4s;
const unit_values = cache_vec4s * 4u;
const v_dim = v_units * unit_values;
const sum_stride = threads + 32u / unit_values;

var<workgroup> q_tile: array<vec4<f32>, num_queries * k_vec4s>; // [query][k4]
var<workgroup> floats: array<f32, num_floats>; // [query][part][position]: scores, then weights; in the end [value][lane]: sums
var<workgroup> lane_tops: array<f32, threads>; // [query][row lane]: largest scores of the tile
var<workgroup> tops: array<f32, num_queries * num_tops>;
var<workgroup> scales: array<vec2<f32>, num_queries>; // the largest score so far, and what it makes of earlier sums
var<workgroup> sums: array<f32, num_blocks * num_streams>; // [block][stream]: in the end, sums of weights

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
    let number = first + i / k_vec4s;
    var value = vec4<f32>(0.0);
    if (number < all_queries) {
      let head = kv_head * group_heads + number % group_heads;
      value = q[q_offset + number / group_heads * q_stride + head * k_vec4s + i % k_vec4s] * scale;
    }
    q_tile[i] = value;
  }
  workgroupBarrier();

  // Stage 1: a part of the queries of a block.
  let part = lane % parts;
  let score_block = lane / parts % num_blocks;
  let slot = lane / (parts * num_blocks);
  var q_part = array<vec4<f32>, block_queries * part_units * cache_vec4s>();
  for (var j = 0u; j < block_queries; j++) {
    let q_begin = (score_block * block_queries + j) * k_vec4s;
    for (var u = 0u; u < part_units; u++) {
      let k_unit = part + u * parts;
      if (is_even || k_unit < k_units) {
        for (var n = 0u; n < cache_vec4s; n++) {
          q_part[(j * part_units + u) * cache_vec4s + n] = q_tile[q_begin + k_unit * cache_vec4s + n];
        }
      }
    }
  }

  // Stage 2: a query.
  let row_query = lane / row_lanes;
  let row_lane = lane % row_lanes;
  let row_sees = visible(first + row_query, row_query < num_queries && first + row_query < all_queries);
  var largest = lowest;

  // Stage 3: sums of a block.
  let unit = lane % v_units;
  let block = lane / v_units % num_blocks;
  let stream = lane / (v_units * num_blocks);
  var sees = array<u32, block_queries>();
  for (var j = 0u; j < block_queries; j++) {
    let number = first + block * block_queries + j;
    sees[j] = visible(number, stream < num_streams && number < all_queries);
  }
  var weight_sums = array<f32, block_queries>();
  var results = array<vec4<f32>, block_queries * cache_vec4s>();

  for (var begin = split_begin; begin < split_end; begin += tile_keys) {
    let end = min(split_end, begin + tile_keys);
    workgroupBarrier();
    for (var position = begin + slot; position < end; position += slots) {
      let key_begin = keys_begin(position, kv_head);
      var scores = array<f32, block_queries>();
      for (var u = 0u; u < part_units; u++) {
        let k_unit = part + u * parts;
        if (is_even || k_unit < k_units) {
          let loaded = unpack(keys[key_begin + k_unit]);
          for (var j = 0u; j < block_queries; j++) {
            for (var n = 0u; n < cache_vec4s; n++) {
              scores[j] += dot(q_part[(j * part_units + u) * cache_vec4s + n], loaded[n]);
            }
          }
        }
      }
      for (var j = 0u; j < block_queries; j++) {
        let query = score_block * block_queries + j;
        floats[query * query_stride + part * part_stride + position - begin] = scores[j];
      }
    }
    workgroupBarrier();
    let row_end = min(row_sees, end);
    let row_begin = row_query * query_stride;
    var top = lowest;
    for (var position = begin + row_lane; position < row_end; position += row_lanes) {
      let at = row_begin + position - begin;
      var score = floats[at];
      for (var i = 1u; i < parts; i++) {
        score += floats[at + i * part_stride];
      }
      floats[at] = score;
      top = max(top, score);
    }
    lane_tops[lane] = top;
    workgroupBarrier();
    if (row_query < num_queries && row_lane < num_tops) {
      for (var i = row_lane + num_tops; i < row_lanes; i += num_tops) {
        top = max(top, lane_tops[row_query * row_lanes + i]);
      }
      tops[row_query * num_tops + row_lane] = top;
    }
    workgroupBarrier();
    if (row_query < num_queries) {
      top = largest;
      for (var i = 0u; i < num_tops; i++) {
        top = max(top, tops[row_query * num_tops + i]);
      }
      if (row_lane == 0u) {
        scales[row_query] = vec2(top, exp2(largest - top));
      }
      largest = top;
      for (var position = begin + row_lane; position < row_end; position += row_lanes) {
        let at = row_begin + position - begin;
        floats[at] = exp2(floats[at] - largest);
      }
    }
    workgroupBarrier();
    for (var j = 0u; j < block_queries; j++) {
      let shrink = scales[block * block_queries + j].y;
      weight_sums[j] *= shrink;
      for (var n = 0u; n < cache_vec4s; n++) {
        results[j * cache_vec4s + n] *= shrink;
      }
    }
    // What a query does not see may be NaN, so a weight of 0 would not do.
    for (var position = begin + stream; position < end; position += batch * num_streams) {
      var loaded = array<cache_unit, batch>();
      for (var i = 0u; i < batch; i++) {
        loaded[i] = values[values_begin(min(position + i * num_streams, end - 1u), kv_head) + unit];
      }
      for (var i = 0u; i < batch; i++) {
        let at = position + i * num_streams;
        let value = unpack(loaded[i]);
        for (var j = 0u; j < block_queries; j++) {
          if (at < min(end, sees[j])) {
            let weight = floats[(block * block_queries + j) * query_stride + at - begin];
            weight_sums[j] += weight;
            for (var n = 0u; n < cache_vec4s; n++) {
              results[j * cache_vec4s + n] += weight * value[n];
            }
          }
        }
      }
    }
  }

  for (var j = 0u; j < block_queries; j++) {
    workgroupBarrier();
    for (var n = 0u; n < cache_vec4s; n++) {
      for (var i = 0u; i < 4u; i++) {
        floats[(n * 4u + i) * sum_stride + lane] = results[j * cache_vec4s + n][i];
      }
    }
    if (unit == 0u && stream < num_streams) {
      sums[block * num_streams + stream] = weight_sums[j];
    }
    workgroupBarrier();
    for (var i = lane; i < num_blocks * (v_dim + 2u); i += threads) {
      let of_block = i / (v_dim + 2u);
      let query = of_block * block_queries + j;
      let number = first + query;
      if (number < all_queries) {
        let head = kv_head * group_heads + number % group_heads;
        let begin = number / group_heads * partials_stride + (head * max_splits + split) * width;
        let column = i % (v_dim + 2u);
        partials[begin + column] = combined(of_block, query, column);
      }
    }
  }
}

// Positions that a query sees, counted from the first; none for a lane that has no query.
fn visible(number: u32, exists: bool) -> u32 {
  return select(0u, step.position + number / group_heads + 1u, exists);
}

// A column of a query's partial result: of its weighted sum, or the largest score, or the sum of weights.
fn combined(block: u32, query: u32, column: u32) -> f32 {
  if (column == v_dim) {
    return scales[query].x;
  }
  var sum = 0.0;
  if (column > v_dim) {
    for (var i = 0u; i < num_streams; i++) {
      sum += sums[block * num_streams + i];
    }
    return sum;
  }
  var at = column % unit_values * sum_stride + block * v_units + column / unit_values;
  for (var i = 0u; i < num_streams; i++) {
    sum += floats[at];
    at += num_blocks * v_units;
  }
  return sum;
}
