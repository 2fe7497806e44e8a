// Sums over the lanes of each team, team_lanes neighbouring lanes of a workgroup, through workgroup memory; else like
//   reduce-workgroup.wgsl, with lane_total(team * num_sums + s) = sum over the team's lanes of values[s].
// Expects: num_teams, team_lanes (a power of two), num_lanes = num_teams * team_lanes (the workgroup size), num_sums.
struct Invocation {
  @builtin(local_invocation_index) lane: u32,
}

// Longer than its lanes, so that neighbours read different banks: the order of a sum must not depend on which sum it is.
const sum_stride = num_lanes + 1u;

var<workgroup> partial: array<f32, num_sums * sum_stride>;
var<workgroup> totals: array<f32, num_sums * num_teams>;

fn add_lanes(values: array<f32, num_sums>, at: Invocation) {
  var own = values;
  for (var s = 0u; s < num_sums; s++) {
    partial[s * sum_stride + at.lane] = own[s];
  }
  workgroupBarrier();
  for (var i = at.lane; i < num_sums * num_teams; i += num_lanes) {
    let first = i % num_sums * sum_stride + i / num_sums * team_lanes;
    var sum = 0.0;
    for (var l = 0u; l < team_lanes; l++) {
      sum += partial[first + l];
    }
    totals[i] = sum;
  }
  workgroupBarrier();
}

fn lane_total(s: u32) -> f32 {
  return totals[s];
}
