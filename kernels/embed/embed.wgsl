// out[row] = weight[token of the row], times embed_scale (flag scale); an id outside the table gives a row of NaN.
// Layout: an invocation per block of a row. Each part of the table writes the rows whose token it holds; the part that
//   begins at 0 also those whose token no part holds.
// Expects: load_block; parts rows.wgsl and tokens.wgsl; out: array<vec4<f32>>, out_stride (in vec4s), cols, part_begin,
//   weight_rows (of the part), table_rows (of all parts), num_lanes.
const row_vec4s: u32 = (cols + 3u) / 4u;

@compute @workgroup_size(num_lanes)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>) {
  let block = invocation.x;
  let row = invocation.y;
  if (block >= weight_row_blocks) {
    return;
  }
  let token = token_of(row);
  let is_outside = token >= table_rows;
  if (select(token < part_begin || token >= part_begin + weight_rows, part_begin != 0u, is_outside)) {
    return;
  }
  var values = load_block(select(token - part_begin, 0u, is_outside), block);
  for (var j = 0u; j < block_vec4s; j++) {
    let k4 = block * block_vec4s + j;
    if (k4 < row_vec4s) {
#if scale
      values[j] *= embed_scale;
#endif
      // The bits of a NaN, made from a value that the compiler cannot know: WGSL refuses a constant NaN.
      out[row * out_stride + k4] = select(values[j], bitcast<vec4<f32>>(vec4(token | 0x7fc00000u)), is_outside);
    }
  }
}
