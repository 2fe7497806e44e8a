// partials[r, h, s] = (sum_t 2^(score_t - largest) values[t, g], largest, sum_t 2^(score_t - largest)) over the positions t of
// split s that row r sees, score_t = scale * q[r, h] . keys[t, g] in units of ln 2. Splits that a row does not have stay as they are.
// A workgroup has one split of one kv head g and up to `num_queries` queries, heads of one row that share g, in blocks of
// `block_queries`: a value of the cache that a lane has loaded serves all queries of its block. Nothing depends on other rows of
// the batch, so that a row gives the same bits in any company.
//
// The split is walked in tiles of tile_keys positions:
//   1. `parts` neighbouring lanes share a position and a block and take turns along k_dim, their part of q in registers;
//   2. the row_lanes lanes of a query add the parts up, find the largest score and turn each score into a weight;
//   3. v_units neighbouring lanes share a stream: a block, and every num_streams-th position. Each keeps the weighted sums
//      of a unit of the values.
// In the end the streams of a query are added in order.
// Lanes look at block_length positions or fewer at a time, all in one block of the cache, so that its address is the same for all.
// Layout: q rows of heads; caches as in cache-read.wgsl; partials rows of [heads, max_splits, width]. Offsets and strides of q
// in vec4.
// Expects: num_blocks, block_queries, parts, tile_keys and num_streams (of a block; powers of two, num_streams and slots at most
// block_length), group_heads, row_groups (workgroups for the heads of a row that share g), num_floats (size of `floats`), scale
// (with log2 e), q_offset, q_stride, partials_stride, width; parts cache-read.wgsl, rows.wgsl, place.wgsl, walk-*.wgsl and split.wgsl; q,
// keys, values, partials.

const threads = 256u;
const num_queries = num_blocks * block_queries;
const slots = threads / (parts * num_blocks); // positions whose scores are computed at a time
const part_units = (k_units + parts - 1u) / parts;
const is_even = k_units % parts == 0u; // every lane of a position has as many units
const part_stride = tile_keys + 32u / parts; // keeps the parts of a position off each other's banks
const query_stride = parts * part_stride;
const row_lanes = threads / num_queries;
const num_tops = 8u; // of a query: lanes that look for its largest score among the row_lanes
const batch_values = 2u; // units on their way to a lane at a time
const is_batch_in_block = batch_values * num_streams <= block_length;
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

// A tile of positions, and what the row sees of it.
struct Tile {
  begin: u32,
  end: u32,
  sees_from: u32,
}

// q of the workgroup's queries times scale, zeros where there is no query.
fn stage_queries(row: u32, first: u32, kv_head: u32, lane: u32) {
  for (var i = lane; i < num_queries * k_vec4s; i += threads) {
    let number = first + i / k_vec4s;
    var value = vec4<f32>(0.0);
    if (number < group_heads) {
      let head = kv_head * group_heads + number;
      value = q[q_offset + row * q_stride + head * k_vec4s + i % k_vec4s] * scale;
    }
    q_tile[i] = value;
  }
  workgroupBarrier();
}

// Stage 1: the lane's part of the scores of every slots-th position.
fn score_tile(
  tile: Tile,
  cache_slot: u32,
  kv_head: u32,
  lane: u32,
  q_part: ptr<function, array<vec4<f32>, block_queries * part_units * cache_vec4s>>,
) {
  let part = lane % parts;
  let block = lane / parts % num_blocks;
  let slot = lane / (parts * num_blocks);
  for (var first = tile.begin; first < tile.end; first += slots) {
    let place = place_of(cache_slot, first);
    if (first + slot >= tile.end) {
      continue;
    }
    var scores = array<f32, block_queries>();
    for (var u = 0u; u < part_units; u++) {
      let k_unit = part + u * parts;
      if (is_even || k_unit < k_units) {
        let loaded = unpack(load_key(place + slot, kv_head, k_unit));
        for (var j = 0u; j < block_queries; j++) {
          for (var n = 0u; n < cache_vec4s; n++) {
            scores[j] += dot((*q_part)[(j * part_units + u) * cache_vec4s + n], loaded[n]);
          }
        }
      }
    }
    for (var j = 0u; j < block_queries; j++) {
      let query = block * block_queries + j;
      floats[query * query_stride + part * part_stride + first + slot - tile.begin] = scores[j];
    }
  }
}

// Stage 2: scores become weights, relative to the largest score so far, which is what it gives.
fn weigh_tile(tile: Tile, query: u32, lane: u32, before: f32) -> f32 {
  let row_lane = lane % row_lanes;
  let row_begin = query * query_stride;
  let first = max(tile.begin, tile.sees_from) - tile.begin;
  let count = tile.end - tile.begin;
  let is_query = query < num_queries;
  var top = lowest;
  for (var i = first + row_lane; i < count && is_query; i += row_lanes) {
    let at = row_begin + i;
    var score = floats[at];
    for (var n = 1u; n < parts; n++) {
      score += floats[at + n * part_stride];
    }
    floats[at] = score;
    top = max(top, score);
  }
  lane_tops[lane] = top;
  workgroupBarrier();
  if (is_query && row_lane < num_tops) {
    for (var i = row_lane + num_tops; i < row_lanes; i += num_tops) {
      top = max(top, lane_tops[query * row_lanes + i]);
    }
    tops[query * num_tops + row_lane] = top;
  }
  workgroupBarrier();
  var largest = before;
  if (is_query) {
    for (var i = 0u; i < num_tops; i++) {
      largest = max(largest, tops[query * num_tops + i]);
    }
    if (row_lane == 0u) {
      scales[query] = vec2(largest, exp2(before - largest));
    }
    for (var i = first + row_lane; i < count; i += row_lanes) {
      floats[row_begin + i] = exp2(floats[row_begin + i] - largest);
    }
  }
  workgroupBarrier();
  return largest;
}

// Stage 3: adds the values of the lane's stream, times their weights. What the row does not see may be NaN, so a weight of 0
// would not do.
fn add_values(
  tile: Tile,
  cache_slot: u32,
  kv_head: u32,
  lane: u32,
  weight_sums: ptr<function, array<f32, block_queries>>,
  results: ptr<function, array<vec4<f32>, block_queries * cache_vec4s>>,
) {
  let unit = lane % v_units;
  let block = lane / v_units % num_blocks;
  let stream = lane / (v_units * num_blocks);
  for (var j = 0u; j < block_queries; j++) {
    let shrink = scales[block * block_queries + j].y;
    (*weight_sums)[j] *= shrink;
    for (var n = 0u; n < cache_vec4s; n++) {
      (*results)[j * cache_vec4s + n] *= shrink;
    }
  }
  for (var first = tile.begin; first < tile.end; first += batch_values * num_streams) {
    var loaded = array<CacheUnit, batch_values>();
    var least = first;
    var place = place_of(cache_slot, first);
    for (var i = 0u; i < batch_values; i++) {
      if (!is_batch_in_block) {
        least = min(first + i * num_streams, tile.end - 1u);
        place = place_of(cache_slot, least);
      }
      // Lanes without a position load the last one again.
      let position = min(first + i * num_streams + stream, tile.end - 1u);
      loaded[i] = load_value(place + position - least, kv_head, unit);
    }
    for (var i = 0u; i < batch_values; i++) {
      let at = first + i * num_streams + stream;
      if (stream < num_streams && at < tile.end && at >= tile.sees_from) {
        let value = unpack(loaded[i]);
        for (var j = 0u; j < block_queries; j++) {
          let weight = floats[(block * block_queries + j) * query_stride + at - tile.begin];
          (*weight_sums)[j] += weight;
          for (var n = 0u; n < cache_vec4s; n++) {
            (*results)[j * cache_vec4s + n] += weight * value[n];
          }
        }
      }
    }
  }
}

// Adds the streams of each query up and writes them.
fn write_partials(
  row: u32,
  first: u32,
  kv_head: u32,
  split: u32,
  lane: u32,
  weight_sums: ptr<function, array<f32, block_queries>>,
  results: ptr<function, array<vec4<f32>, block_queries * cache_vec4s>>,
) {
  let block = lane / v_units % num_blocks;
  let stream = lane / (v_units * num_blocks);
  for (var j = 0u; j < block_queries; j++) {
    workgroupBarrier();
    for (var n = 0u; n < cache_vec4s; n++) {
      for (var i = 0u; i < 4u; i++) {
        floats[(n * 4u + i) * sum_stride + lane] = (*results)[j * cache_vec4s + n][i];
      }
    }
    if (lane % v_units == 0u && stream < num_streams) {
      sums[block * num_streams + stream] = (*weight_sums)[j];
    }
    workgroupBarrier();
    for (var i = lane; i < num_blocks * (v_dim + 2u); i += threads) {
      let of_block = i / (v_dim + 2u);
      let query = of_block * block_queries + j;
      if (first + query < group_heads) {
        let head = kv_head * group_heads + first + query;
        let begin = row * partials_stride + (head * max_splits + split) * width;
        let column = i % (v_dim + 2u);
        partials[begin + column] = combined(of_block, query, column);
      }
    }
  }
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

@compute @workgroup_size(threads)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let kv_head = group.y;
  let row = group.z / row_groups;
  let first = group.z % row_groups * num_queries;
  let position = position_of(row);
  let cache_slot = slot_of(row);
  let splits = splits_of(position);
  let split_begin = splits.begin + group.x * splits.length;
  let split_end = min(split_begin + splits.length, splits.end);
  if (split_begin >= splits.end) {
    return;
  }
  stage_queries(row, first, kv_head, lane);

  var q_part = array<vec4<f32>, block_queries * part_units * cache_vec4s>();
  for (var j = 0u; j < block_queries; j++) {
    let q_begin = (lane / parts % num_blocks * block_queries + j) * k_vec4s;
    for (var u = 0u; u < part_units; u++) {
      let k_unit = lane % parts + u * parts;
      if (is_even || k_unit < k_units) {
        for (var n = 0u; n < cache_vec4s; n++) {
          q_part[(j * part_units + u) * cache_vec4s + n] = q_tile[q_begin + k_unit * cache_vec4s + n];
        }
      }
    }
  }
  var largest = lowest;
  var weight_sums = array<f32, block_queries>();
  var results = array<vec4<f32>, block_queries * cache_vec4s>();
  for (var begin = split_begin; begin < split_end; begin = next_tile(begin, tile_keys)) {
    let tile = Tile(begin, min(split_end, begin + tile_keys), sees_from(position));
    workgroupBarrier();
    score_tile(tile, cache_slot, kv_head, lane, &q_part);
    workgroupBarrier();
    largest = weigh_tile(tile, lane / row_lanes, lane, largest);
    add_values(tile, cache_slot, kv_head, lane, &weight_sums, &results);
  }
  write_partials(row, first, kv_head, group.x, lane, &weight_sums, &results);
}
