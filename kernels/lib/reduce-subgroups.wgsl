// Sums over all lanes of a workgroup, within subgroups first; twin of reduce-workgroup.wgsl.
//   add_lanes(values, at), once per kernel by all lanes; then lane_total(s) = sum over lanes of values[s], for any lane:
//   the same bits in every lane and every run.
// WGSL does not say which lanes form a subgroup. So the first invocation of each leaves its sum at its own lane, all
// others leave 0 at theirs, and every subgroup adds up all lanes: right for any subgroup size and any order of lanes.
// Expects: num_lanes (a power of two, the workgroup size), num_sums.
// It has no workgroup_id, which is the same in all lanes: WGSL would forget that about a member of this struct.
struct Invocation {
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_invocation_id) subgroup_lane: u32,
  @builtin(subgroup_size) subgroup_size: u32,
}

var<workgroup> partial: array<f32, num_sums * num_lanes>;
var<workgroup> totals: array<f32, num_sums>;

fn add_lanes(values: array<f32, num_sums>, at: Invocation) {
  var own = values;
  for (var s = 0u; s < num_sums; s++) {
    let sum = subgroupAdd(own[s]);
    partial[s * num_lanes + at.lane] = select(0.0, sum, at.subgroup_lane == 0u);
  }
  workgroupBarrier();
  let stride = min(at.subgroup_size, num_lanes);
  for (var s = 0u; s < num_sums; s++) {
    var sum = 0.0;
    for (var lane = at.subgroup_lane; lane < num_lanes; lane += stride) {
      sum += partial[s * num_lanes + lane];
    }
    let total = subgroupAdd(sum);
    if (at.lane == 0u) {
      totals[s] = total;
    }
  }
  workgroupBarrier();
}

fn lane_total(s: u32) -> f32 {
  return totals[s];
}
