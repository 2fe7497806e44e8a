// sums[params.slot] += the errors of all groups, of convert.wgsl: sums of the first two numbers, the largest third, the count of the fourth.
// Expects: params, errors: array<vec4<f32>>, sums: array<vec4<f32>>.
var<workgroup> shares: array<vec4<f32>, 256>;

fn both(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
  return vec4(a.xy + b.xy, max(a.z, b.z), a.w + b.w);
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = vec4<f32>();
  for (var i = lane; i < params.groups; i += 256u) { sum = both(sum, errors[i]); }
  shares[lane] = sum;
  for (var half = 128u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { shares[lane] = both(shares[lane], shares[lane + half]); }
  }
  if (lane == 0u) { sums[params.slot] = both(sums[params.slot], shares[0]); }
}
