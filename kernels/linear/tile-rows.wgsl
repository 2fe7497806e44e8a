// The rows of a tile for tile.wgsl: neighbouring rows of x. Tiles of the same weight rows are neighbours along group.x, so
// that a weight comes from memory once.
// Expects: matrix_of(index) -> Matrix, matrix_rows; x_stride (in vec4s).
const column_tiles: u32 = (matrix_rows + tile_cols - 1u) / tile_cols;

fn tile_of(group: vec3<u32>) -> Tile {
  let first = group.x * tile_rows;
  let matrix = matrix_of(group.y / column_tiles);
  let count = select(0u, batch.rows - first, matrix.exists && first < batch.rows);
  return Tile(matrix, group.y % column_tiles * tile_cols, first, min(count, tile_rows));
}

fn prepare_rows(tile: Tile, lane: u32) {
}

// The vec4 of x at which a row of the tile begins.
fn x_row_at(tile: Tile, tile_row: u32) -> u32 {
  return tile.matrix.x_at + (tile.first + tile_row) * x_stride;
}

fn write_row(tile: Tile, tile_row: u32, n: u32, y: vec4<f32>) {
  write_outputs(tile.first + tile_row, tile.matrix.column + n, y);
}
