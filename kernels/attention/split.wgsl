// How a step cuts its context (step.position + step.rows positions) into at most max_splits splits: split_unit positions
// each, or a multiple of that when the context is longer than max_splits * split_unit.
// Expects: split_unit, max_splits.

fn split_length() -> u32 {
  let context = step.position + step.rows;
  return split_unit * max(1u, (context + split_unit * max_splits - 1u) / (split_unit * max_splits));
}
