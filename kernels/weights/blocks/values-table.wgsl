// value = factor * table[number]: 16 numbers with signs, four to a word.
// Expects: table: vec4<u32>.
fn table_value(number: u32) -> f32 {
  let word = select(select(table.x, table.y, number >= 4u), select(table.z, table.w, number >= 12u), number >= 8u);
  return f32(bitcast<i32>(word << (24u - 8u * (number & 3u))) >> 24u);
}

fn values_of(numbers: u32, scales: vec2<f32>) -> vec4<f32> {
  return scales.x * vec4(
    table_value(numbers & 15u),
    table_value((numbers >> 8u) & 15u),
    table_value((numbers >> 16u) & 15u),
    table_value(numbers >> 24u),
  );
}
