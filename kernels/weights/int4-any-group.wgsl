// Weights as 4-bit numbers like int4, of columns that belong to groups in any order (GPTQ desc_act): a row of weight_data holds
// its blocks, and after them the group of every column, a byte each.
// Layout: row r, block b at weight_data[r * weight_row_vec4s + b], groups of its columns in the two vec4s from r * weight_row_vec4s +
//   weight_row_blocks + 2 * b on, the scale word of group g at weight_scale[r * weight_row_scales + g].
// Expects: weight_data: array<vec4<u32>>, weight_scale: array<u32>, weight_row_blocks, group_blocks, scale_of, scaled.
const block_vec4s: u32 = 8u;
const weight_row_scales: u32 = (weight_row_blocks + 4u * group_blocks - 1u) / (4u * group_blocks) * 4u;
const weight_row_vec4s: u32 = 3u * weight_row_blocks;

fn value_of(first_scale: u32, group: u32, q: u32) -> f32 {
  return scaled(vec4(f32(q & 15u)), scale_of(weight_scale[first_scale + (group & 255u)])).x;
}

fn four_values(first_scale: u32, groups: u32, q: u32) -> vec4<f32> {
  return vec4(
    value_of(first_scale, groups, q),
    value_of(first_scale, groups >> 8u, q >> 4u),
    value_of(first_scale, groups >> 16u, q >> 8u),
    value_of(first_scale, groups >> 24u, q >> 12u),
  );
}

fn load_block(row: u32, block: u32) -> array<vec4<f32>, block_vec4s> {
  let first = row * weight_row_vec4s;
  let bits = weight_data[first + block];
  let early = weight_data[first + weight_row_blocks + 2u * block];
  let late = weight_data[first + weight_row_blocks + 2u * block + 1u];
  let scales = row * weight_row_scales;
  return array(
    four_values(scales, early.x, bits.x),
    four_values(scales, early.y, bits.x >> 16u),
    four_values(scales, early.z, bits.y),
    four_values(scales, early.w, bits.y >> 16u),
    four_values(scales, late.x, bits.z),
    four_values(scales, late.y, bits.z >> 16u),
    four_values(scales, late.z, bits.w),
    four_values(scales, late.w, bits.w >> 16u),
  );
}
