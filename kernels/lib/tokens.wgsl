// The token of a row: an id, or (highest bit set) which of the words that the sampler keeps for the row's slot: 0 the token
// sampled last, 1 the guess of the token after it.
// Expects: part rows.wgsl; sampled: array<u32>, sampled_stride.
fn token_of(row: u32) -> u32 {
  let token = batch_table[row_words * row + 2u];
  if (token < 0x80000000u) {
    return token;
  }
  return sampled[slot_of(row) * sampled_stride + (token & 0x7fffffffu)];
}
