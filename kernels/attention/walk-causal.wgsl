// What a row sees: every position up to its own. A walk goes in tiles that begin at multiples of their length.
fn sees_from(position: u32) -> u32 {
  return 0u;
}

fn sees_to(position: u32) -> u32 {
  return position + 1u;
}

// Where the walk of rows from this position on begins, for tiles of `length` positions.
fn first_tile(position: u32, length: u32) -> u32 {
  return 0u;
}

fn next_tile(tile: u32, length: u32) -> u32 {
  return tile + length;
}
