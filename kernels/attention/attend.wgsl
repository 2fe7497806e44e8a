// out[r, h] = sum_t softmax_t(scale * q[r, h] . keys[t, g]) values[t, g] over the positions t that row r sees.
// Flash attention: a workgroup has a tile of queries of one kv head g and walks over the context in tiles of positions,
// keeping for every query the largest score so far, the sum of exponentials and the weighted sum of values.
// A query is a row and a head of the group that shares g, numbered row * group_heads + head, so that all of them share the
// tiles in workgroup memory. The rows of a sequence stand at neighbouring positions, and no tile has queries of two sequences. Scores are in
// units of ln 2: exponentials are exp2.
// With `partial` a workgroup has queries of one row, walks over one split of its context and leaves (weighted sum, largest score,
// sum of exponentials) instead of the quotient.
//
// Lane (y, x) has queries y + lanes_y * i (i < 4, the components of a vec4), the positions x + lanes_x * i (i < key_cols)
// of a tile, and the columns x + lanes_x * j (in vec4, j < v_cols) of the output. 32 neighbouring lanes are 4 y by 8 x,
// so that what a subgroup reads from workgroup memory is few different vec4s.
// Layout: q rows of heads; caches as in cache-read.wgsl; partial results rows of [heads, max_splits, v_dim + 4]. Offsets and
// strides in vec4.
// Expects: lanes_y (a multiple of 4), lanes_x (a multiple of 8), key_cols, v_cols, group_heads, v_keys (positions of a
// chunk of values: a power of two, a divisor of the tile's positions, with v_keys * v_cols * lanes_x <= 512), scale (with
// log2 e), q_offset, q_stride, out_offset, out_stride; block_length is a multiple of lanes_x * key_cols; parts cache-read.wgsl, rows.wgsl,
// place.wgsl, walk-*.wgsl; q, keys, values, out. Flag partial: part split.wgsl, row_tiles (tiles of the queries of a row).

const threads = lanes_y * lanes_x;
const tile_queries = 4u * lanes_y;
const tile_keys = lanes_x * key_cols;
const chunk = 8u; // vec4s of k_dim in workgroup memory at a time
const chunk_units = chunk / cache_vec4s;
const maxima = min(tile_keys * chunk, 512u - threads); // where they begin in `right`
const lowest = -3.402823466e38;
const k_vec4s = k_units * cache_vec4s;
const v_vec4s = v_units * cache_vec4s;

// [k4][query]: a chunk of q; then [position][y]: weights of 4 queries.
var<workgroup> left: array<vec4<f32>, max(tile_queries * chunk, tile_keys * lanes_y)>;
var<workgroup> right: array<vec4<f32>, 512>; // [k4][position]: a chunk of keys; then [y][x]: maxima; then values

// What a workgroup has to do: queries [first, end) of those that begin at row `row`, over positions [walk_begin, walk_end).
struct Walk {
  row: u32,
  first: u32,
  end: u32,
  position: u32, // of the row
  walk_begin: u32,
  walk_end: u32,
}

// A tile of positions in one block of the cache.
struct Tile {
  begin: u32,
  end: u32,
  place: u32,
  is_masked: bool, // not every query sees all of it
}

// Of the lane: its place, and for each of its four queries the positions seen, the largest score, the sum of exponentials.
var<private> x: u32;
var<private> y: u32;
var<private> seen_from: vec4<u32>;
var<private> seen_to: vec4<u32>;
var<private> largest: vec4<f32>;
var<private> sum: vec4<f32>;
// Weighted sums of values, by query.
var<private> out0: array<vec4<f32>, v_cols>;
var<private> out1: array<vec4<f32>, v_cols>;
var<private> out2: array<vec4<f32>, v_cols>;
var<private> out3: array<vec4<f32>, v_cols>;

// Keeps lanes that write one query and lanes that read one k4 off each other's banks. Only the lowest bits of index
// change, so that `index + lanes_y` and `index + lanes_x` lie as much further on.
fn swizzle(k4: u32, width: u32, index: u32) -> u32 {
  return k4 * width + (index ^ (k4 % min(8u, lanes_y)));
}

fn stage_queries(walk: Walk, kv_head: u32, k_begin: u32, lane: u32) {
  for (var i = lane; i < tile_queries * chunk; i += threads) {
    let query = walk.first + i / chunk;
    let k4 = k_begin + i % chunk;
    var value = vec4<f32>(0.0);
    if (query < walk.end && k4 < k_vec4s) {
      let head = kv_head * group_heads + query % group_heads;
      value = q[q_offset + (walk.row + query / group_heads) * q_stride + head * k_vec4s + k4] * scale;
    }
    left[swizzle(i % chunk, tile_queries, i / chunk)] = value;
  }
}

fn stage_keys(tile: Tile, kv_head: u32, k_begin: u32, lane: u32) {
  for (var i = lane; i < tile_keys * chunk_units; i += threads) {
    let key = i / chunk_units;
    let unit = k_begin / cache_vec4s + i % chunk_units;
    var loaded = array<vec4<f32>, cache_vec4s>();
    if (tile.begin + key < tile.end && unit < k_units) {
      loaded = unpack(load_key(tile.place + key, kv_head, unit));
    }
    for (var n = 0u; n < cache_vec4s; n++) {
      right[swizzle(i % chunk_units * cache_vec4s + n, tile_keys, key)] = loaded[n];
    }
  }
}

fn score_tile(walk: Walk, tile: Tile, kv_head: u32, lane: u32) -> array<vec4<f32>, key_cols> {
  var scores = array<vec4<f32>, key_cols>();
  // Starts at 0, which compilers do not know: unrolled it would gain nothing and cost seconds of compilation.
  for (var k_begin = batch.zero; k_begin < k_vec4s; k_begin += chunk) {
    workgroupBarrier();
    stage_queries(walk, kv_head, k_begin, lane);
    stage_keys(tile, kv_head, k_begin, lane);
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
  return scores;
}

// Which of the lane's queries do not see a position.
fn is_unseen(position: u32) -> vec4<bool> {
  return (vec4<u32>(position) >= seen_to) | (vec4<u32>(position) < seen_from);
}

// Scores become weights in `left`, relative to the largest so far; earlier sums shrink with it.
fn weigh_tile(tile: Tile, given: array<vec4<f32>, key_cols>) {
  var scores = given;
  var best = largest;
  for (var i = 0u; i < key_cols; i++) {
    if (tile.is_masked) {
      scores[i] = select(scores[i], vec4<f32>(lowest), is_unseen(tile.begin + x + lanes_x * i));
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
    if (tile.is_masked) {
      weight = select(weight, vec4<f32>(0.0), is_unseen(tile.begin + x + lanes_x * i));
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
}

fn stage_values(tile: Tile, kv_head: u32, v_begin: u32, count: u32, lane: u32) {
  for (var i = lane; i < v_keys * v_units; i += threads) {
    let key = i / v_units;
    let unit = i % v_units;
    var loaded = array<vec4<f32>, cache_vec4s>();
    if (v_begin + key < count) {
      loaded = unpack(load_value(tile.place + v_begin + key, kv_head, unit));
    }
    for (var n = 0u; n < cache_vec4s; n++) {
      right[key * v_cols * lanes_x + unit * cache_vec4s + n] = loaded[n];
    }
  }
}

fn add_values(tile: Tile, kv_head: u32, lane: u32) {
  let count = min(tile_keys, tile.end - tile.begin);
  for (var v_begin = 0u; v_begin < count; v_begin += v_keys) {
    workgroupBarrier();
    stage_values(tile, kv_head, v_begin, count, lane);
    workgroupBarrier();
    let v_count = min(v_keys, count - v_begin);
    for (var key = 0u; key < v_count; key++) {
      let weight = left[(v_begin + key) * lanes_y + y];
      let value_at = key * v_cols * lanes_x + x;
      if (tile.is_masked) {
        // A weight of 0 would not do: the NaN of a row that is not seen must not reach this one.
        let unseen = is_unseen(tile.begin + v_begin + key);
        for (var j = 0u; j < v_cols; j++) {
          let value = right[value_at + j * lanes_x];
          out0[j] += select(weight.x * value, vec4<f32>(0.0), unseen.x);
          out1[j] += select(weight.y * value, vec4<f32>(0.0), unseen.y);
          out2[j] += select(weight.z * value, vec4<f32>(0.0), unseen.z);
          out3[j] += select(weight.w * value, vec4<f32>(0.0), unseen.w);
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

fn write_results(walk: Walk, kv_head: u32, split: u32) {
  for (var i = 0u; walk.first + y + lanes_y * i < walk.end; i++) {
    let query = walk.first + y + lanes_y * i;
    let row = walk.row + query / group_heads;
    let head = kv_head * group_heads + query % group_heads;
#if partial
    let begin = row * out_stride + (head * max_splits + split) * (v_vec4s + 1u);
    let divisor = 1.0;
    if (x == 0u) {
      out[begin + v_vec4s] = vec4<f32>(largest[i], sum[i], 0.0, 0.0);
    }
#else
    let begin = out_offset + row * out_stride + head * v_vec4s;
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

fn walk_of(group: vec3<u32>) -> Walk {
#if partial
  let row = group.z / row_tiles;
  let first = group.z % row_tiles * tile_queries;
  let position = position_of(row);
  let splits = splits_of(position);
  let begin = splits.begin + group.x * splits.length;
  return Walk(row, first, min(first + tile_queries, group_heads), position, begin, min(begin + splits.length, splits.end));
#else
  // The tiles of each sequence after those of the one before.
  var tile = group.x;
  for (var index = 0u; index < batch.sequences; index++) {
    let sequence = sequence_at(index);
    let num_queries = sequence.num_rows * group_heads;
    let num_tiles = (num_queries + tile_queries - 1u) / tile_queries;
    if (tile >= num_tiles) {
      tile -= num_tiles;
      continue;
    }
    // The last queries see most: they start first.
    let first = (num_tiles - 1u - tile) * tile_queries;
    let end = min(first + tile_queries, num_queries);
    let position = position_of(sequence.first_row);
    let begin = first_tile(position + first / group_heads, tile_keys);
    return Walk(sequence.first_row, first, end, position, begin, sees_to(position + (end - 1u) / group_heads));
  }
  return Walk();
#endif
}

@compute @workgroup_size(threads)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  y = lane / 8u % 4u + lane / (4u * lanes_x) * 4u;
  x = lane % 8u + lane / 32u % (lanes_x / 8u) * 8u;
  let kv_head = group.y;
  let walk = walk_of(group);
  if (walk.walk_begin >= walk.walk_end) {
    return;
  }
  for (var i = 0u; i < 4u; i++) {
    let position = walk.position + (walk.first + y + lanes_y * i) / group_heads;
    seen_from[i] = sees_from(position);
    seen_to[i] = sees_to(position);
  }
  let all_from = sees_from(walk.position + (walk.end - 1u) / group_heads);
  let all_to = sees_to(walk.position + walk.first / group_heads);
  let cache_slot = slot_of(walk.row);
  largest = vec4<f32>(lowest);
  for (var begin = walk.walk_begin; begin < walk.walk_end; begin = next_tile(begin, tile_keys)) {
    let is_masked = begin + tile_keys > all_to || begin < all_from;
    let tile = Tile(begin, walk.walk_end, place_of(cache_slot, begin), is_masked);
    weigh_tile(tile, score_tile(walk, tile, kv_head, lane));
    add_values(tile, kv_head, lane);
  }

  workgroupBarrier();
  right[y * lanes_x + x] = sum;
  workgroupBarrier();
  sum = vec4<f32>(0.0);
  for (var i = y * lanes_x; i < (y + 1u) * lanes_x; i++) {
    sum += right[i];
  }
  write_results(walk, kv_head, group.x);
}
