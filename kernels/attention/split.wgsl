// How the context of a row is cut into splits, of which each has split_groups workgroups: split_unit positions each, or a
// multiple of that when these would be more than max_splits, or more than fill the device. It depends on the row's own context
// alone, so that a row gives the same bits in any batch.
// Expects: split_unit (a multiple of block_length), max_splits, split_groups; part walk-*.wgsl.
struct Splits {
  begin: u32, // of the first split
  end: u32, // of the last
  length: u32,
}

fn splits_of(position: u32) -> Splits {
  let begin = first_tile(position, split_unit);
  let end = sees_to(position);
  let filling = clamp((batch.workgroups + split_groups - 1u) / split_groups, 1u, max_splits);
  let length = split_unit * ((end - begin + split_unit * filling - 1u) / (split_unit * filling));
  return Splits(begin, end, length);
}

fn num_splits(splits: Splits) -> u32 {
  return (splits.end - splits.begin + splits.length - 1u) / splits.length;
}
