// What a row sees: its own position and the window - 1 before it. A walk goes in tiles that begin at multiples of their length.
// Expects: window.
fn sees_from(position: u32) -> u32 {
  return position + 1u - min(position + 1u, window);
}

fn sees_to(position: u32) -> u32 {
  return position + 1u;
}

// Where the walk of rows from this position on begins, for tiles of `length` positions.
fn first_tile(position: u32, length: u32) -> u32 {
  return sees_from(position) / length * length;
}

fn next_tile(tile: u32, length: u32) -> u32 {
  return tile + length;
}
