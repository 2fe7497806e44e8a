// The row that a workgroup of the sampler looks at: the grid's y counts sequences, and its depth is the round + 1.
// Flag is_last: logits and results have one row for each sequence, of its last row; else one for each row of the batch, and a
// sequence's round is its row of that number.
// Expects: part rows.wgsl.
struct SampledRow {
  row: u32,
  // The row of logits and results.
  at: u32,
  slot: u32,
  is_first: bool,
  // False: the sequence has no row in this round.
  exists: bool,
}

fn sampled_row(group: vec3<u32>, num_groups: vec3<u32>) -> SampledRow {
  let sequence = sequence_at(group.y);
#if is_last
  let row = sequence.first_row + sequence.num_rows - 1u;
  return SampledRow(row, group.y, sequence.slot, true, true);
#else
  let round = num_groups.z - 1u;
  let row = sequence.first_row + round;
  return SampledRow(row, row, sequence.slot, round == 0u, group.z == round && round < sequence.num_rows);
#endif
}
