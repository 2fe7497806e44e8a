// The rows of a batch and the sequences that they belong to, from the table that the host writes for each pass (src/graph/batch.ts).
// Layout, in words: a row is (position, slot, token, 0) and then its rotary table, a sequence (first row, rows, slot, 0). A slot is what a running sequence
//   has of the sampler and of the block tables.
// Expects: batch_table: array<u32>; row_words, sequences_begin.
struct Sequence {
  first_row: u32,
  num_rows: u32,
  slot: u32,
}

// Tokens before the row's own in its sequence.
fn position_of(row: u32) -> u32 {
  return batch_table[row_words * row];
}

fn slot_of(row: u32) -> u32 {
  return batch_table[row_words * row + 1u];
}

fn sequence_at(index: u32) -> Sequence {
  let begin = sequences_begin + 4u * index;
  return Sequence(batch_table[begin], batch_table[begin + 1u], batch_table[begin + 2u]);
}

fn last_row_of(index: u32) -> u32 {
  let sequence = sequence_at(index);
  return sequence.first_row + sequence.num_rows - 1u;
}
