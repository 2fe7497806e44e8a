// For every row r and head h, in one dispatch:
//   out[r, h] = [sum_d q[r, h, d] weight[h * unit_rows + d] | rotate(q[r, h, nope:])], d < nope
//   cache[place of r] = [latent[r, :rank] / sqrt(mean(latent[r, :rank]^2) + eps) * norm | rotate(latent[r, rank:])]
// The product is one with the transposed matrix of the head: lanes have neighbouring blocks of its columns and walk down its
// rows, four at a time, for lane_rows rows of q. A workgroup has one head, col_lanes blocks and num_lanes / col_lanes slots:
//   flag sliced: a slot walks over every num_slots-th four rows of the matrix, and the sums of all slots are added in
//   order: many loads on their way for few rows of q. Otherwise each slot has rows of q of its own.
// After those come workgroups that write a row of the cache each (the grid of the first part has them).
// Layout: q, out rows of heads; latent, cache rows. Offsets and strides of q in vec4, all others in vec2.
// Without flag product another kernel writes out[r, h, :rank]; col_tiles is 1.
// Expects: num_heads (of this part), first_head, unit_rows, weight_row_blocks, col_tiles, col_lanes, num_lanes, lane_rows,
// tile_rows (rows of q of a workgroup), nope_vec4s, rank_pairs, eps, q_offset, q_stride, latent_offset, latent_stride,
// out_offset, out_stride; parts load_block, rotate.wgsl, rows.wgsl, place.wgsl, cache-write.wgsl;
// q, latent, norm, weight, out, keys (the cache).

#if product
const num_slots = num_lanes / col_lanes;
const lane_vec4s = lane_rows * block_vec4s;
#endif
const rope_units = half / 2u;
const head_vec4s = nope_vec4s + rope_units;
const out_pairs = rank_pairs + half;

var<workgroup> squares: array<f32, num_lanes>;
#if cache_int8
var<workgroup> staged: array<vec2<f32>, out_pairs>;
#endif
#if product
#if sliced
const d4_step = num_slots;
var<workgroup> slices: array<vec4<f32>, lane_vec4s * num_lanes>; // [vec4 of a lane][lane]
#else
const d4_step = 1u;
#endif

// The lane's sums: four rows of the matrix of the head at a time, every d4_step-th four from d4_begin on.
fn add_products(lane_row: u32, head: u32, block: u32, d4_begin: u32, sums: ptr<function, array<vec4<f32>, lane_vec4s>>) {
  for (var d4 = d4_begin; d4 < nope_vec4s; d4 += d4_step) {
    let d = head * unit_rows + 4u * d4;
    let w0 = load_block(d, block);
    let w1 = load_block(d + 1u, block);
    let w2 = load_block(d + 2u, block);
    let w3 = load_block(d + 3u, block);
    for (var i = 0u; i < lane_rows; i++) {
      let value = q[q_head(min(lane_row + i, batch.rows - 1u), head) + d4];
      for (var n = 0u; n < block_vec4s; n++) {
        (*sums)[i * block_vec4s + n] += value.x * w0[n] + value.y * w1[n] + value.z * w2[n] + value.w * w3[n];
      }
    }
  }
}

#if sliced
// Adds the sums of all slots in order and writes them; by all lanes together.
fn write_products(first_row: u32, head: u32, col_tile: u32, lane: u32, sums: ptr<function, array<vec4<f32>, lane_vec4s>>) {
  for (var i = 0u; i < lane_vec4s; i++) {
    slices[i * num_lanes + lane] = (*sums)[i];
  }
  workgroupBarrier();
  for (var i = lane; i < lane_vec4s * col_lanes; i += num_lanes) {
    let lane_vec4 = i / col_lanes;
    var sum = vec4<f32>(0.0);
    for (var other = lane_vec4 * num_lanes + i % col_lanes; other < (lane_vec4 + 1u) * num_lanes; other += col_lanes) {
      sum += slices[other];
    }
    let k4 = (col_tile * col_lanes + i % col_lanes) * block_vec4s + lane_vec4 % block_vec4s;
    write_product(first_row + lane_vec4 / block_vec4s, head, k4, sum);
  }
}
#endif
#endif

@compute @workgroup_size(num_lanes)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  const num_products = num_heads * col_tiles;
  let first_row = group.y * tile_rows;
  if (group.x >= num_products) {
    let row = first_row + group.x - num_products;
    if (row < batch.rows) {
      append(row, lane);
    }
    return;
  }
  let head = group.x / col_tiles;
  let col_tile = group.x % col_tiles;
  if (col_tile == 0u) {
    rotate_queries(first_row, head, lane);
  }

#if product
  let slot = lane / col_lanes;
  let block = col_tile * col_lanes + lane % col_lanes;
#if sliced
  let lane_row = first_row;
  let d4_begin = slot;
#else
  let lane_row = first_row + slot * lane_rows;
  let d4_begin = batch.zero; // Unrolled the loop would gain nothing.
#endif
  var sums: array<vec4<f32>, lane_vec4s>;
  if (block < weight_row_blocks) {
    add_products(lane_row, head, block, d4_begin, &sums);
  }
#if sliced
  write_products(first_row, head, col_tile, lane, &sums);
#else
  for (var i = 0u; i < lane_rows; i++) {
    for (var n = 0u; n < block_vec4s; n++) {
      write_product(lane_row + i, head, block * block_vec4s + n, sums[i * block_vec4s + n]);
    }
  }
#endif
#endif
}

// Where a head of q begins.
fn q_head(row: u32, head: u32) -> u32 {
  return q_offset + row * q_stride + (first_head + head) * head_vec4s;
}

fn out_head(row: u32, head: u32) -> u32 {
  return out_offset + row * out_stride + (first_head + head) * out_pairs;
}

#if product
fn write_product(row: u32, head: u32, k4: u32, value: vec4<f32>) {
  // The last block may reach beyond the rank.
  if (row < batch.rows && 2u * k4 < rank_pairs) {
    let at = out_head(row, head) + 2u * k4;
    out[at] = value.xy;
    out[at + 1u] = value.zw;
  }
}
#endif

fn rotate_queries(first_row: u32, head: u32, lane: u32) {
  let count = (min(first_row + tile_rows, batch.rows) - first_row) * rope_units;
  for (var i = lane; i < count; i += num_lanes) {
    let row = first_row + i / rope_units;
    let unit = i % rope_units;
    let places = unit_places(unit);
    let begin = q_head(row, head) + nope_vec4s;
    let x = Unit(q_pair(begin, places.x), q_pair(begin, places.y));
    let rotated = rotate(x, unit, row);
    let at = out_head(row, head) + rank_pairs;
    out[at + places.x] = rotated.a;
    out[at + places.y] = rotated.b;
  }
}

fn q_pair(begin: u32, pair: u32) -> vec2<f32> {
  let values = q[begin + pair / 2u];
  return select(values.xy, values.zw, pair % 2u == 1u);
}

fn append(row: u32, lane: u32) {
  let begin = latent_offset + row * latent_stride;
  var sum = 0.0;
  for (var pair = lane; pair < rank_pairs; pair += num_lanes) {
    let x = latent[begin + pair];
    sum += dot(x, x);
  }
  squares[lane] = sum;
  workgroupBarrier();
  sum = 0.0;
  for (var i = 0u; i < num_lanes; i++) {
    sum += squares[i];
  }
  let scale = inverseSqrt(sum / f32(2u * rank_pairs) + eps);
  let place = place_of(slot_of(row), position_of(row));
  for (var pair = lane; pair < rank_pairs; pair += num_lanes) {
    put(place, pair, latent[begin + pair] * scale * norm[pair]);
  }
  for (var unit = lane; unit < rope_units; unit += num_lanes) {
    let places = unit_places(unit);
    let x = Unit(latent[begin + rank_pairs + places.x], latent[begin + rank_pairs + places.y]);
    let rotated = rotate(x, unit, row);
    put(place, rank_pairs + places.x, rotated.a);
    put(place, rank_pairs + places.y, rotated.b);
  }
#if cache_int8
  workgroupBarrier();
  var bits = 0u;
  for (var pair = 0u; pair < out_pairs; pair++) {
    bits = largest_bits(bits, staged[pair]);
  }
  for (var quad = lane; quad < out_pairs / 2u; quad += num_lanes) {
    keys[key_at(place) + quad] = to_quad(vec4<f32>(staged[2u * quad], staged[2u * quad + 1u]), bitcast<f32>(bits));
  }
  keys[key_scale_at(place, 0u)] = bits;
#endif
}

// A pair of the row goes to the cache, or waits until the largest magnitude is known.
fn put(place: u32, pair: u32, x: vec2<f32>) {
#if cache_int8
  staged[pair] = x;
#else
  keys[key_at(place) + pair] = to_cache(x);
#endif
}
