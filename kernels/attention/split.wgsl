// How a step cuts its context (step.position + step.rows positions) into splits, of which each has split_groups workgroups:
// split_unit positions each, or a multiple of that when these would be more than max_splits, or more than fill the device.
// Expects: split_unit, max_splits, split_groups.

fn split_length() -> u32 {
  let context = step.position + step.rows;
  let filling = clamp((step.workgroups + split_groups - 1u) / split_groups, 1u, max_splits);
  return split_unit * ((context + split_unit * filling - 1u) / (split_unit * filling));
}
