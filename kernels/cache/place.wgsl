// Where a position of a sequence lies in the cache: block tables give the block of every block_length positions.
// Expects: part rows.wgsl; tables_begin, slot_words (of a slot's tables), table_begin (of this layer's group), block_length.

// The number of the block that holds a position. A cache tensor is one buffer of blocks, so the number is all of the address.
fn block_of(slot: u32, position: u32) -> u32 {
  return batch_table[tables_begin + slot * slot_words + table_begin + position / block_length];
}

// The place of a position: places of neighbouring positions of a block are neighbours.
fn place_of(slot: u32, position: u32) -> u32 {
  return block_of(slot, position) * block_length + position % block_length;
}
