// Subgroups that work alone, numbered within their workgroup.
// A subgroup is as many neighbouring lanes as take part in one: WGSL does not promise neighbours, but every driver makes them
//   so, and one that did not would fail the self-test. The builtin subgroup_size may be larger than what takes part.
struct Wave {
  index: u32,
  lane: u32,
  lanes: u32,
}

// Of the lane with this local_invocation_index; for all lanes of a workgroup together.
fn wave_of(local_index: u32) -> Wave {
  let lanes = subgroupAdd(1u);
  return Wave(subgroupBroadcastFirst(local_index) / lanes, subgroupExclusiveAdd(1u), lanes);
}
