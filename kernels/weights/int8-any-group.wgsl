// Weights as bytes like int8, of columns that belong to groups in any order (GPTQ desc_act): a row of weight_data holds its
// blocks, and after them the group of every column, a byte each.
// Layout: row r, block b at weight_data[r * weight_row_vec4s + b], groups of its columns at weight_data[r * weight_row_vec4s +
//   weight_row_blocks + b], the scale word of group g at weight_scale[r * weight_row_scales + g].
// Expects: weight_data: array<vec4<u32>>, weight_scale: array<u32>, weight_row_blocks, group_blocks, scale_of, scaled.
const block_vec4s: u32 = 4u;
const weight_row_scales: u32 = (weight_row_blocks + 4u * group_blocks - 1u) / (4u * group_blocks) * 4u;
const weight_row_vec4s: u32 = 2u * weight_row_blocks;

fn value_of(first_scale: u32, group: u32, q: u32) -> f32 {
  return scaled(vec4(f32(q & 255u)), scale_of(weight_scale[first_scale + (group & 255u)])).x;
}

fn four_values(first_scale: u32, groups: u32, q: u32) -> vec4<f32> {
  return vec4(
    value_of(first_scale, groups, q),
    value_of(first_scale, groups >> 8u, q >> 8u),
    value_of(first_scale, groups >> 16u, q >> 16u),
    value_of(first_scale, groups >> 24u, q >> 24u),
  );
}

fn load_block(row: u32, block: u32) -> array<vec4<f32>, block_vec4s> {
  let first = row * weight_row_vec4s;
  let bits = weight_data[first + block];
  let groups = weight_data[first + weight_row_blocks + block];
  let scales = row * weight_row_scales;
  return array(
    four_values(scales, groups.x, bits.x),
    four_values(scales, groups.y, bits.y),
    four_values(scales, groups.z, bits.z),
    four_values(scales, groups.w, bits.w),
  );
}
