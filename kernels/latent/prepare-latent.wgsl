// For every row r and head h, in one dispatch:
//   out[r, h] = [sum_d q[r, h, d] weight[h * unit_rows + d] | rotate(q[r, h, nope:])], d < nope
//   cache[step.position + r] = [latent[r, :rank] / sqrt(mean(latent[r, :rank]^2) + eps) * norm | rotate(latent[r, rank:])]
// The product is one with the transposed matrix of the head: lanes have neighbouring blocks of its columns and walk down its
// rows, four at a time, for lane_rows rows of q. A workgroup has one head, col_lanes blocks and num_lanes / col_lanes slots:
//   flag sliced: a slot walks over every num_slots-th four rows of the matrix, and the sums of all slots are added in
//   order: many loads on their way for few rows of q. Otherwise each slot has rows of q of its own.
// Behind those come workgroups that write a row of the cache each (the grid of the first part has them).
// Layout: q, out rows of heads; latent, cache rows. Offsets and strides of q in vec4, all others in vec2.
// Expects: num_heads (of this part), first_head, unit_rows, weight_row_blocks, col_tiles, col_lanes, num_lanes, lane_rows,
// tile_rows (rows of q of a workgroup), nope_vec4s, rank_pairs, eps, q_offset, q_stride, latent_offset, latent_stride,
// out_offset, out_stride, cache_offset, cache_stride; parts load_block, rotate.wgsl, to-cache.wgsl;
// q, latent, angles, norm, weight, out, cache.

const num_slots = num_lanes / col_lanes;
const lane_vec4s = lane_rows * block_vec4s;
const rope_units = half / 2u;
const head_vec4s = nope_vec4s + rope_units;
const out_pairs = rank_pairs + half;

var<workgroup> squares: array<f32, num_lanes>;
#if sliced
var<workgroup> slices: array<vec4<f32>, lane_vec4s * num_lanes>; // [vec4 of a lane][lane]
#endif

@compute @workgroup_size(num_lanes)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  const num_products = num_heads * col_tiles;
  let first_row = group.y * tile_rows;
  if (group.x >= num_products) {
    let row = first_row + group.x - num_products;
    if (row < step.rows) {
      append(row, lane);
    }
    return;
  }
  let head = group.x / col_tiles;
  let col_tile = group.x % col_tiles;
  if (col_tile == 0u) {
    rotate_queries(first_row, head, lane);
  }

  let slot = lane / col_lanes;
  let block = col_tile * col_lanes + lane % col_lanes;
#if sliced
  let lane_row = first_row;
  let d4_begin = slot;
  const d4_step = num_slots;
#else
  let lane_row = first_row + slot * lane_rows;
  let d4_begin = group.z; // 0, which compilers do not know: unrolled the loop would gain nothing.
  const d4_step = 1u;
#endif
  var sums: array<vec4<f32>, lane_vec4s>;
  if (block < weight_row_blocks) {
    for (var d4 = d4_begin; d4 < nope_vec4s; d4 += d4_step) {
      let d = head * unit_rows + 4u * d4;
      let w0 = load_block(d, block);
      let w1 = load_block(d + 1u, block);
      let w2 = load_block(d + 2u, block);
      let w3 = load_block(d + 3u, block);
      for (var i = 0u; i < lane_rows; i++) {
        let value = q[q_head(min(lane_row + i, step.rows - 1u), head) + d4];
        for (var n = 0u; n < block_vec4s; n++) {
          sums[i * block_vec4s + n] += value.x * w0[n] + value.y * w1[n] + value.z * w2[n] + value.w * w3[n];
        }
      }
    }
  }

#if sliced
  for (var i = 0u; i < lane_vec4s; i++) {
    slices[i * num_lanes + lane] = sums[i];
  }
  workgroupBarrier();
  for (var i = lane; i < lane_vec4s * col_lanes; i += num_lanes) {
    let lane_vec4 = i / col_lanes;
    var sum = vec4<f32>(0.0);
    for (var other = lane_vec4 * num_lanes + i % col_lanes; other < (lane_vec4 + 1u) * num_lanes; other += col_lanes) {
      sum += slices[other];
    }
    let k4 = (col_tile * col_lanes + i % col_lanes) * block_vec4s + lane_vec4 % block_vec4s;
    write_product(lane_row + lane_vec4 / block_vec4s, head, k4, sum);
  }
#else
  for (var i = 0u; i < lane_rows; i++) {
    for (var n = 0u; n < block_vec4s; n++) {
      write_product(lane_row + i, head, block * block_vec4s + n, sums[i * block_vec4s + n]);
    }
  }
#endif
}

// Where a head of q begins.
fn q_head(row: u32, head: u32) -> u32 {
  return q_offset + row * q_stride + (first_head + head) * head_vec4s;
}

fn out_head(row: u32, head: u32) -> u32 {
  return out_offset + row * out_stride + (first_head + head) * out_pairs;
}

fn write_product(row: u32, head: u32, k4: u32, value: vec4<f32>) {
  // The last block may reach beyond the rank.
  if (row < step.rows && 2u * k4 < rank_pairs) {
    let at = out_head(row, head) + 2u * k4;
    out[at] = value.xy;
    out[at + 1u] = value.zw;
  }
}

fn rotate_queries(first_row: u32, head: u32, lane: u32) {
  let count = (min(first_row + tile_rows, step.rows) - first_row) * rope_units;
  for (var i = lane; i < count; i += num_lanes) {
    let row = first_row + i / rope_units;
    let unit = i % rope_units;
    let places = unit_places(unit);
    let begin = q_head(row, head) + nope_vec4s;
    let x = Unit(q_pair(begin, places.x), q_pair(begin, places.y));
    let rotated = rotate(x, unit, angles_offset + row * angles_stride);
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
  let cache_begin = cache_offset + (step.position + row) * cache_stride;
  for (var pair = lane; pair < rank_pairs; pair += num_lanes) {
    cache[cache_begin + pair] = to_cache(latent[begin + pair] * scale * norm[pair]);
  }
  for (var unit = lane; unit < rope_units; unit += num_lanes) {
    let places = unit_places(unit);
    let x = Unit(latent[begin + rank_pairs + places.x], latent[begin + rank_pairs + places.y]);
    let rotated = rotate(x, unit, angles_offset + row * angles_stride);
    cache[cache_begin + rank_pairs + places.x] = to_cache(rotated.a);
    cache[cache_begin + rank_pairs + places.y] = to_cache(rotated.b);
  }
}
