// Eight values as float16. Layout: weights/f16.wgsl.
// Expects: params.row_blocks, target_data: array<vec4<u32>>, values, decoded, group_vec4s (2).
const most: f32 = 65504.0;

fn encode(row: u32, group: u32) {
  var bits: vec4<u32>;
  for (var i = 0u; i < 2u; i++) {
    // What lies beyond is reported; here it must only not be undefined.
    let v = clamp(values[i], vec4(-most), vec4(most));
    let words = vec2(pack2x16float(v.xy), pack2x16float(v.zw));
    bits[2u * i] = words.x;
    bits[2u * i + 1u] = words.y;
    decoded[i] = vec4(unpack2x16float(words.x), unpack2x16float(words.y));
  }
  target_data[row * params.row_blocks + group] = bits;
}
