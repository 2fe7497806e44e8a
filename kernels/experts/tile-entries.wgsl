// The rows of a tile for tile.wgsl: entries (row * num_slots + slot) of one expert, as groupEntries sorted them.
// Layout: group.x counts the column tiles of the op that has the most, group.y the tiles.
// Expects: tiles: array<vec4<u32>>, entries: array<u32>; first_expert, part_experts, num_slots, matrix_rows; x_offset,
//   x_stride, x_slot_stride (in vec4s).
var<workgroup> tile_entries: array<u32, tile_rows>;

fn tile_of(group: vec3<u32>) -> Tile {
  let tile = tiles[group.y];
  let expert = tile.x - first_expert;
  let n = group.x * tile_cols;
  let count = select(0u, min(tile.z, tile_rows), expert < part_experts && n < matrix_rows);
  return Tile(Matrix(expert * matrix_rows, 0u, 0u, x_offset, true), n, tile.y, count);
}

fn prepare_rows(tile: Tile, lane: u32) {
  for (var i = lane; i < tile.num_rows; i += num_lanes) {
    tile_entries[i] = entries[tile.first + i];
  }
  workgroupBarrier();
}

fn x_row_at(tile: Tile, tile_row: u32) -> u32 {
  let entry = tile_entries[tile_row];
  return tile.matrix.x_at + entry / num_slots * x_stride + entry % num_slots * x_slot_stride;
}

fn write_row(tile: Tile, tile_row: u32, n: u32, y: vec4<f32>) {
  let entry = tile_entries[tile_row];
  write_outputs(entry / num_slots, entry % num_slots * matrix_rows + n, y);
}
