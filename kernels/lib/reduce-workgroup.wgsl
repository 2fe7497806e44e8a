// Sums over all lanes of a workgroup through workgroup memory alone; twin of reduce-subgroups.wgsl.
// totals[s] = sum over lanes of values[s], the same bits in every lane and every run.
// Expects: num_lanes (a power of two, the workgroup size), num_sums. Call it once: its memory is not guarded for reuse.
struct Invocation {
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3<u32>,
}

// The lanes' values are added in two rounds of about the same length, which costs fewer barriers than halving.
const num_strands: u32 = min(8u, num_lanes);

var<workgroup> partial: array<f32, num_sums * num_lanes>;

fn sum_lanes(values: array<f32, num_sums>, at: Invocation) -> array<f32, num_sums> {
  var totals = values;
  for (var s = 0u; s < num_sums; s++) {
    partial[s * num_lanes + at.lane] = totals[s];
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
  for (var s = 0u; s < num_sums; s++) {
    totals[s] = 0.0;
    for (var i = 0u; i < num_strands; i++) {
      totals[s] += partial[s * num_lanes + i];
    }
  }
  return totals;
}
