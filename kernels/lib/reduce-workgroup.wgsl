// Sums over all lanes of a workgroup through workgroup memory alone; twin of reduce-subgroups.wgsl.
//   add_lanes(values, at), once per kernel by all lanes; then lane_total(s) = sum over lanes of values[s], for any lane:
//   the same bits in every lane and every run.
// Expects: num_lanes (a power of two from 8 on, the workgroup size), num_sums.
// It has no workgroup_id, which is the same in all lanes: WGSL would forget that about a member of this struct.
struct Invocation {
  @builtin(local_invocation_index) lane: u32,
}

// The values are added in two rounds of about the same length, which costs fewer barriers than halving.
const num_strands: u32 = select(8u, 16u, num_lanes > 128u);

var<workgroup> partial: array<f32, num_sums * num_lanes>;
var<workgroup> totals: array<f32, num_sums>;

fn add_lanes(values: array<f32, num_sums>, at: Invocation) {
  var own = values;
  for (var s = 0u; s < num_sums; s++) {
    partial[s * num_lanes + at.lane] = own[s];
  }
  workgroupBarrier();
  for (var i = at.lane; i < num_sums * num_strands; i += num_lanes) {
    let first = i / num_strands * num_lanes + i % num_strands;
    var sum = 0.0;
    for (var l = 0u; l < num_lanes; l += num_strands) {
      sum += partial[first + l];
    }
    partial[first] = sum;
  }
  workgroupBarrier();
  for (var s = at.lane; s < num_sums; s += num_lanes) {
    var sum = 0.0;
    for (var i = 0u; i < num_strands; i++) {
      sum += partial[s * num_lanes + i];
    }
    totals[s] = sum;
  }
  workgroupBarrier();
}

fn lane_total(s: u32) -> f32 {
  return totals[s];
}
