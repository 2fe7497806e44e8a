// y[row, n] = sum_k weight[n, k] * x[row, k] for many rows of x.
// Layout: one workgroup per tile of tile_rows rows of x and tile_cols rows of a matrix; along k it stages tile_k4s vec4s of
//   each in workgroup memory. A thread holds thread_rows x (4 * thread_col4s) outputs: tile rows `thread_row * thread_rows`
//   on, and thread_col4s groups of four neighbouring rows of the matrix, `4 * (c4 * col_threads + thread_col)` on.
//   Staged rows lie in the order in which neighbouring threads read them, and the vec4s of a row are permuted by
//   swizzle(): both keep the reads of a subgroup on different banks.
// Expects: load_block, bias_of; tile_of, prepare_rows, x_row_at, write_row, which know what the rows of a tile are; matrix_rows;
//   x: array<vec4<f32>>, cols, alias tile_vec4 (vec4<f32> or vec4<f16>) for staged weights, row_threads and col_threads
//   (multiples of 8). flag ragged: cols is not a multiple of 4 * tile_k4s.
const num_lanes: u32 = row_threads * col_threads;
const tile_rows: u32 = row_threads * thread_rows;
const tile_cols: u32 = col_threads * 4u * thread_col4s;
const tile_blocks: u32 = tile_k4s / block_vec4s;

struct Tile {
  matrix: Matrix,
  // The first row of the matrix.
  n: u32,
  // The first row of the tile, and how many count: 0 when there is nothing to do.
  first: u32,
  num_rows: u32,
}

var<workgroup> x_tile: array<vec4<f32>, tile_rows * tile_k4s>;
var<workgroup> weight_tile: array<tile_vec4, tile_cols * tile_k4s>;

// Eight vec4s fill all banks once.
fn swizzle(staged_row: u32) -> u32 {
  return staged_row * tile_k4s / 8u % tile_k4s;
}

fn stage_x(tile: Tile, first_k4: u32, lane: u32) {
  for (var i = lane; i < tile_rows * tile_k4s; i += num_lanes) {
    let staged_row = i / tile_k4s;
    let k4 = i % tile_k4s;
    let tile_row = staged_row % row_threads * thread_rows + staged_row / row_threads;
    var value = x[x_row_at(tile, min(tile_row, tile.num_rows - 1u)) + first_k4 + k4];
#if ragged
    value = select(vec4(0.0), value, vec4(4u * (first_k4 + k4)) + vec4(0u, 1u, 2u, 3u) < vec4(cols));
#endif
    x_tile[staged_row * tile_k4s + (k4 ^ swizzle(staged_row))] = value;
  }
}

fn stage_weight(tile: Tile, first_block: u32, lane: u32) {
  for (var i = lane; i < tile_cols * tile_blocks; i += num_lanes) {
    let staged_row = i / tile_blocks;
    let block = i % tile_blocks;
    let c = staged_row / col_threads;
    let n = tile.n + 4u * (c / 4u * col_threads + staged_row % col_threads) + c % 4u;
    let weight_row = tile.matrix.weight_row + min(n, matrix_rows - 1u);
#if ragged
    var values: array<vec4<f32>, block_vec4s>;
    if (first_block + block < weight_row_blocks) {
      values = load_block(weight_row, first_block + block);
    }
#else
    var values = load_block(weight_row, first_block + block);
#endif
    for (var j = 0u; j < block_vec4s; j++) {
      let k4 = block * block_vec4s + j;
      weight_tile[staged_row * tile_k4s + (k4 ^ swizzle(staged_row))] = tile_vec4(values[j]);
    }
  }
}

fn dot_add(a: vec4<f32>, b: vec4<f32>, c: f32) -> f32 {
  return fma(a.x, b.x, fma(a.y, b.y, fma(a.z, b.z, fma(a.w, b.w, c))));
}

@compute @workgroup_size(num_lanes)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let tile = tile_of(group);
  if (tile.num_rows == 0u) {
    return;
  }
  prepare_rows(tile, lane);
  let thread_row = lane / col_threads;
  let thread_col = lane % col_threads;
  // In a tile that is not full the rows that count are those of the first threads: whole subgroups may rest.
  let is_idle = thread_row * thread_rows >= tile.num_rows;
  var sums: array<vec4<f32>, thread_rows * thread_col4s>;
  for (var c4 = 0u; c4 < thread_col4s; c4++) {
    let first_sum = bias_of(tile.matrix.column + tile.n + 4u * (c4 * col_threads + thread_col));
    for (var i = 0u; i < thread_rows; i++) {
      sums[i * thread_col4s + c4] = first_sum;
    }
  }
  // The grid is flat, so group.z is 0. A start that compilers do not know keeps them from unrolling the two outer loops,
  // which gains nothing and costs seconds of compilation.
  for (var block = group.z; block < weight_row_blocks; block += tile_blocks) {
    stage_x(tile, block * block_vec4s, lane);
    stage_weight(tile, block, lane);
    workgroupBarrier();
    for (var k4 = select(group.z, tile_k4s, is_idle); k4 < tile_k4s; k4++) {
      var w: array<vec4<f32>, 4u * thread_col4s>;
      // Threads in steps of 8 rows share their swizzle, so it depends on thread_col and thread_row alone.
      let weight_at = thread_col * tile_k4s + (k4 ^ swizzle(thread_col));
      for (var c = 0u; c < 4u * thread_col4s; c++) {
        w[c] = vec4<f32>(weight_tile[weight_at + c * col_threads * tile_k4s]);
      }
      let x_at = thread_row * tile_k4s + (k4 ^ swizzle(thread_row));
      for (var i = 0u; i < thread_rows; i++) {
        let value = x_tile[x_at + i * row_threads * tile_k4s];
        for (var c4 = 0u; c4 < thread_col4s; c4++) {
          let sum = sums[i * thread_col4s + c4];
          sums[i * thread_col4s + c4] = vec4(
            dot_add(value, w[4u * c4], sum.x),
            dot_add(value, w[4u * c4 + 1u], sum.y),
            dot_add(value, w[4u * c4 + 2u], sum.z),
            dot_add(value, w[4u * c4 + 3u], sum.w),
          );
        }
      }
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < thread_rows; i++) {
    let tile_row = thread_row * thread_rows + i;
    for (var c4 = 0u; c4 < thread_col4s; c4++) {
      let n = tile.n + 4u * (c4 * col_threads + thread_col);
      if (tile_row < tile.num_rows && n < matrix_rows) {
        write_row(tile, tile_row, n, sums[i * thread_col4s + c4]);
      }
    }
  }
}
