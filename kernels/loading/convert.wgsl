// Rows of a plain format in `weight_data` -> rows of another format, and how far they are from what they were.
// A thread has a group: `group_vec4s` * 4 columns of a row. `encode` of the part before this writes them where the weight has
// them, and leaves in `decoded` what they have become.
// errors[group of all] = (sum of |v - w|, sum of |v|, the largest |v - w| over the largest |v|, 1 if a value is not to be had).
// params: first_row and row_step count rows of the weight, first_source_row rows of `weight_data`, of which each has
// source_row_blocks elements; row_blocks and row_scales are the elements of a row of target_data and target_scale.
// Expects: params, errors: array<vec4<f32>>, group_vec4s, load_block, block_vec4s, encode, most, values, decoded, weight_row_blocks.

// The first value of the group stands in for columns after the last one.
fn load_group(row: u32, group: u32) {
  const blocks = group_vec4s / block_vec4s;
  for (var b = 0u; b < blocks; b++) {
    let block = group * blocks + b;
    if (block < params.source_row_blocks) {
      let loaded = load_block(row, block);
      for (var v = 0u; v < block_vec4s; v++) { values[b * block_vec4s + v] = loaded[v]; }
    }
  }
  if ((group + 1u) * 4u * group_vec4s > params.cols) {
    for (var v = 0u; v < group_vec4s; v++) {
      values[v] = select(vec4(values[0].x), values[v], columns_of(group, v) < vec4(params.cols));
    }
  }
}

fn columns_of(group: u32, vector: u32) -> vec4<u32> {
  return 4u * (group * group_vec4s + vector) + vec4(0u, 1u, 2u, 3u);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let at = id.x + id.y * grid.x * 64u;
  if (at >= params.rows * params.row_groups) { return; }
  weight_row_blocks = params.source_row_blocks;
  let row = at / params.row_groups;
  let group = at % params.row_groups;
  load_group(params.first_source_row + row, group);
  encode(params.first_row + row * params.row_step, group);

  var error = vec4<f32>();
  var size = vec4<f32>();
  var largest_error = vec4<f32>();
  var largest = vec4<f32>();
  var is_bad = false;
  for (var v = 0u; v < group_vec4s; v++) {
    let counts = columns_of(group, v) < vec4(params.cols);
    let w = select(vec4(0.0), values[v], counts);
    let e = select(vec4(0.0), abs(values[v] - decoded[v]), counts);
    error += e;
    size += abs(w);
    largest_error = max(largest_error, e);
    largest = max(largest, abs(w));
    // By its bits, since compilers may take it for granted that there are no infinities and no NaN.
    is_bad = is_bad || any((bitcast<vec4<u32>>(w) & vec4(0x7fffffffu)) > vec4(bitcast<u32>(most)));
  }
  let top = max(max(largest.x, largest.y), max(largest.z, largest.w));
  let top_error = max(max(largest_error.x, largest_error.y), max(largest_error.z, largest_error.w));
  errors[at] = vec4(
    dot(error, vec4(1.0)),
    dot(size, vec4(1.0)),
    select(0.0, top_error / top, top > 0.0),
    select(0.0, 1.0, is_bad),
  );
}
