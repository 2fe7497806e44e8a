// Weights as float8 e4m3fn, 16 to a vec4<u32>, the first in the low byte of x, each times the scale of its row and 128 columns.
// Layout: row r, block b at weight_data[r * weight_row_blocks + b], its scale at weight_scale[r * weight_row_scales + b / 8].
// Expects: weight_data: array<vec4<u32>>, weight_scale: array<f32>, weight_row_blocks.
const block_vec4s: u32 = 4u;
// Blocks that share a scale: 128 columns.
const scale_blocks: u32 = 8u;
// Scales of a row, padded to a multiple of 4.
const weight_row_scales: u32 = (weight_row_blocks + 4u * scale_blocks - 1u) / (4u * scale_blocks) * 4u;

// The values of four bytes: exact, with subnormals, both zeros, and NaN.
fn e4m3_values(bytes: u32) -> vec4<f32> {
  // Each byte in bits 20 to 27: fraction and exponent where a float32 has them, the exponent 120 too small.
  let bits = vec4(bytes << 20u, bytes << 12u, bytes << 4u, bytes >> 4u);
  let magnitude = bits & vec4(0x07f00000u);
  // A subnormal m * 2^-9 comes out as (8 + m) * 2^-10. Twice that less 2^-6 is m * 2^-9 again; for all other values it is no
  // less than the value, so the smaller one is right for both. Subnormals of float32, which GPUs may flush, never occur.
  let value = bitcast<vec4<f32>>(magnitude + vec4(120u << 23u));
  let exact = min(value, 2.0 * value - vec4(0.015625));
  let signed = bitcast<vec4<u32>>(exact) | ((bits << vec4(4u)) & vec4(0x80000000u));
  return bitcast<vec4<f32>>(select(signed, vec4(0x7fc00000u), magnitude == vec4(0x07f00000u)));
}

fn load_block(row: u32, block: u32) -> array<vec4<f32>, block_vec4s> {
  let bytes = weight_data[row * weight_row_blocks + block];
  let scale = weight_scale[row * weight_row_scales + block / scale_blocks];
  return array(
    scale * e4m3_values(bytes.x),
    scale * e4m3_values(bytes.y),
    scale * e4m3_values(bytes.z),
    scale * e4m3_values(bytes.w),
  );
}
