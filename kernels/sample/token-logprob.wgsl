// said[r] = (bits of the logit of the batch's token of row r, bits of the largest logit, bits of the sum of exp(logit - largest), rank),
//   where rank is 1 + the number of tokens with a larger logit, or 0: NaN or +infinity is among the logits, or none is finite.
// Layout: a workgroup per row, whose lanes take a vec4 of tokens in turns: first for the largest, then for the sum. The sum is one of
//   integers, so that no order changes it.
// Expects: ordered-key.wgsl, fixed-point.wgsl, rows.wgsl; logits: array<vec4<f32>>, said: array<vec4<u32>>; vocab, logits_offset,
//   logits_stride (in vec4s), num_lanes = 256.

// The key of the lowest finite number.
const lowest_key: u32 = 0x00800000u;

var<workgroup> top_key: atomic<u32>;
var<workgroup> num_above: atomic<u32>;
var<workgroup> is_bad: atomic<u32>;
// Low and high word.
var<workgroup> mass: array<atomic<u32>, 2>;

// NaN, or +infinity: asked of the bits, since WGSL may assume that there are none.
fn is_unusable(x: f32) -> bool {
  let bits = bitcast<u32>(x);
  return (bits & 0x7fffffffu) > 0x7f800000u || bits == 0x7f800000u;
}

// exp of what is at most 0; a plain 0 far down, so that infinities and denormals never meet exp.
fn weight_of(exponent: f32) -> f32 {
  return select(exp(max(exponent, -80.0)), 0.0, exponent < -80.0);
}

@compute @workgroup_size(num_lanes)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let row = group.x;
  let begin = logits_offset + row * logits_stride;
  let token = batch_table[row_words * row + 2u];
  let own = logits[begin + token / 4u][token % 4u];
  let own_key = key_of(own);
  var best = 0u;
  var above = 0u;
  var any_unusable = false;
  for (var k4 = lane; 4u * k4 < vocab; k4 += num_lanes) {
    let x = logits[begin + k4];
    for (var i = 0u; i < min(4u, vocab - 4u * k4); i++) {
      let key = key_of(x[i]);
      best = max(best, key);
      above += u32(key > own_key);
      any_unusable |= is_unusable(x[i]);
    }
  }
  atomicMax(&top_key, best);
  atomicAdd(&num_above, above);
  atomicOr(&is_bad, u32(any_unusable));
  workgroupBarrier();

  let top = atomicLoad(&top_key);
  var sum = vec2(0u);
  for (var k4 = lane; 4u * k4 < vocab; k4 += num_lanes) {
    let x = logits[begin + k4];
    for (var i = 0u; i < min(4u, vocab - 4u * k4); i++) {
      // -infinity has no weight, and where the largest is not finite nobody looks at the sum.
      if (key_of(x[i]) >= lowest_key) {
        sum = add(sum, fixed_point(weight_of(x[i] - value_of(top))));
      }
    }
  }
  let old = atomicAdd(&mass[0], sum.x);
  atomicAdd(&mass[1], sum.y + u32(old + sum.x < old));
  workgroupBarrier();

  if (lane == 0u) {
    let total = to_float(vec2(atomicLoad(&mass[0]), atomicLoad(&mass[1])));
    let is_usable = atomicLoad(&is_bad) == 0u && top >= lowest_key;
    said[row] = vec4(
      bitcast<u32>(own), bitcast<u32>(value_of(top)), bitcast<u32>(total), select(0u, 1u + atomicLoad(&num_above), is_usable),
    );
  }
}
