// scaled[i] = penalised(logits[i]) + bias[i], or -infinity where bit i of the mask is 0, and a Block record for each block of the vocabulary, where
//   penalised(x) = (x > 0 ? x / repetition : x * repetition, when i occurs in prompt or output)
//                  - frequency * count[i] - (presence, when count[i] > 0).
// The temperature enters the sums only, (x - max) / temperature: dividing x itself would cost the digits it is large by.
// Layout: one workgroup per block, a vec4 of tokens per lane. counts: bit 31 tells of the prompt, the bits below count the
//   output. Without penalties, bias and mask the logits are copied bit by bit.
// Expects: records.wgsl, fixed-point.wgsl; logits, scaled, bias: array<vec4<f32>>, counts: array<vec4<u32>>, mask: array<u32>,
//   sampling: array<Sampling>, blocks: array<Block>; vocab, num_lanes, num_blocks (of a row), logits_offset, logits_stride, scaled_stride (in
//   vec4s); of a slot: counts_slot, bias_slot (in vec4s), mask_slot; parts rows.wgsl, sampled-rows.wgsl.
var<private> slot: u32;
var<workgroup> max_key: atomic<u32>;
var<workgroup> model_max_key: atomic<u32>;
var<workgroup> is_bad: atomic<u32>;
// The complement of the lowest id, so that a maximum finds it.
var<workgroup> first_argmax: atomic<u32>;
// Low and high word of `sum` and of `model_sum`.
var<workgroup> sums: array<atomic<u32>, 4>;

fn add_to_sum(i: u32, weight: f32) {
  let amount = fixed_point(weight);
  let old = atomicAdd(&sums[i], amount.x);
  atomicAdd(&sums[i + 1u], amount.y + u32(old + amount.x < old));
}

fn penalised(x: vec4<f32>, count: vec4<u32>) -> vec4<f32> {
  let repeated = select(x * sampling[slot].repetition, x * sampling[slot].inverse_repetition, x > vec4(0.0));
  let generated = vec4<f32>(count & vec4(0x7fffffffu));
  let presence = select(vec4(0.0), vec4(sampling[slot].presence), generated > vec4(0.0));
  return select(x, repeated, count != vec4(0u)) - sampling[slot].frequency * generated - presence;
}

// NaN, or +infinity: asked of the bits, since WGSL may assume that there are none.
fn is_unusable(x: f32) -> bool {
  let bits = bitcast<u32>(x);
  return (bits & 0x7fffffffu) > 0x7f800000u || bits == 0x7f800000u;
}

// The logits of four tokens with penalties, bias and mask.
fn changed(x: vec4<f32>, k4: u32) -> vec4<f32> {
  let flags = sampling[slot].flags;
  var y = x;
  if ((flags & uses_counts) != 0u) {
    y = penalised(y, counts[slot * counts_slot + k4]);
  }
  if ((flags & uses_bias) != 0u) {
    let b = bias[slot * bias_slot + k4];
    y = select(y + b, b, bitcast<vec4<u32>>(b) == vec4(negative_infinity_bits));
  }
  y = select(y, x, bitcast<vec4<u32>>(x) == vec4(negative_infinity_bits));
  if ((flags & uses_mask) != 0u) {
    let allowed = (vec4(mask[slot * mask_slot + k4 / 8u]) >> (4u * (k4 % 8u) + vec4(0u, 1u, 2u, 3u))) & vec4(1u);
    y = select(bitcast<vec4<f32>>(vec4(sampling[slot].banned)), y, allowed == vec4(1u));
  }
  return y;
}

@compute @workgroup_size(num_lanes)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) num_groups: vec3<u32>,
) {
  let looked_at = sampled_row(group, num_groups);
  if (!looked_at.exists) {
    return;
  }
  slot = looked_at.slot;
  let k4 = group.x * num_lanes + lane;
  // Lanes after the last token have none to look at.
  let num_own = select(0u, min(4u, vocab - 4u * k4), 4u * k4 < vocab);
  var x = vec4(0.0);
  var y = vec4(0.0);
  if (num_own > 0u) {
    x = logits[logits_offset + looked_at.at * logits_stride + k4];
    y = changed(x, k4);
    scaled[group.y * scaled_stride + k4] = y;
  }
  var best = 0u;
  var model_best = 0u;
  var any_unusable = false;
  for (var i = 0u; i < num_own; i++) {
    best = max(best, key_of(y[i]));
    model_best = max(model_best, key_of(x[i]));
    any_unusable |= is_unusable(x[i]) || is_unusable(y[i]);
  }
  atomicMax(&max_key, best);
  atomicMax(&model_max_key, model_best);
  atomicOr(&is_bad, u32(any_unusable));
  workgroupBarrier();

  let top_key = atomicLoad(&max_key);
  let model_top_key = atomicLoad(&model_max_key);
  var first = 0xffffffffu;
  var sum = 0.0;
  var model_sum = 0.0;
  for (var i = 0u; i < num_own; i++) {
    if (key_of(y[i]) == top_key) {
      first = min(first, 4u * k4 + i);
    }
    // -infinity has no weight below a finite maximum, and the sums of a block of nothing else are not looked at.
    sum += weight_of((y[i] - value_of(top_key)) * sampling[slot].inverse_temperature);
    model_sum += weight_of(x[i] - value_of(model_top_key));
  }
  atomicMax(&first_argmax, ~first);
  add_to_sum(0u, sum);
  add_to_sum(2u, model_sum);
  workgroupBarrier();
  if (lane == 0u) {
    blocks[group.y * num_blocks + group.x] = Block(
      top_key, ~atomicLoad(&first_argmax), to_float(vec2(atomicLoad(&sums[0]), atomicLoad(&sums[1]))), atomicLoad(&is_bad),
      model_top_key, to_float(vec2(atomicLoad(&sums[2]), atomicLoad(&sums[3]))), vocab, 0u,
    );
  }
}
