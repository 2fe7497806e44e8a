// A head as units of 4 values that one lane holds: two vec2, `a` and `b`, chosen so that the lane has both values of
// every pair it rotates. With half pairing (value i with value half + i) unit u < half / 2 has values 2u, 2u + 1 and
// half + 2u, half + 2u + 1; interleaved pairs (2i with 2i + 1), and what follows the rotated part, are 4 neighbours.
//   out_i = x_i cos_i - x_j sin_i,  out_j = x_j cos_i + x_i sin_i
// The angles of a row are in the batch's table: cosines, then sines, as the bits of f32.
// Expects: const half (rotated values / 2, even), angles_offset (in a row); flag half_pairing; part rows.wgsl.

struct Unit {
  a: vec2<f32>,
  b: vec2<f32>,
}

// Where `a` and `b` lie in the head, in vec2.
fn unit_places(unit: u32) -> vec2<u32> {
#if half_pairing
  if (unit < half / 2u) {
    return vec2<u32>(unit, unit + half / 2u);
  }
#endif
  return vec2<u32>(2u * unit, 2u * unit + 1u);
}

fn angles_at(row: u32, pair: u32) -> vec2<f32> {
  let begin = row * row_words + angles_offset + 2u * pair;
  return bitcast<vec2<f32>>(vec2<u32>(batch_table[begin], batch_table[begin + 1u]));
}

// By the angles of a row.
fn rotate(x: Unit, unit: u32, row: u32) -> Unit {
  if (unit >= half / 2u) {
    return x;
  }
  let cosines = angles_at(row, unit);
  let sines = angles_at(row, half / 2u + unit);
#if half_pairing
  return Unit(x.a * cosines - x.b * sines, x.b * cosines + x.a * sines);
#else
  let a = x.a * cosines.x + vec2<f32>(-x.a.y, x.a.x) * sines.x;
  let b = x.b * cosines.y + vec2<f32>(-x.b.y, x.b.x) * sines.y;
  return Unit(a, b);
#endif
}
