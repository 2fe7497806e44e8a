// The num_slots best experts of each row, best first, and their scales (RouteOp in graph/ops/experts.ts has the formula).
//   experts[row, s] = the expert of rank s, scales[row, s] = score / (sum over the chosen, or 1) * scale
// Layout: a row takes row_lanes lanes, four experts to each; a workgroup has group_rows rows. An expert's rank is the number
//   of experts before it: larger choice scores, and equal ones with a lower id. So all ranks are known after one pass over
//   workgroup memory, whatever num_slots is. Scores are compared as integer keys: a NaN cannot make two ranks equal.
//   softmax: the logit is the choice score, for it has the order of the score and exact ties; without a bias sigmoid likewise.
// Expects: key_of, value_of, sigmoid; logits: array<f32>, logits_offset, logits_stride (in values), experts: array<u32>, scales:
//   array<u32> (bits of f32), out_stride (of both, in values), num_experts, num_slots, num_groups, kept_groups, scale,
//   num_lanes = group_rows * row_lanes, grid_width. flags: softmax (else sigmoid), has_bias (sigmoid only): bias: array<vec4<f32>>,
//   has_groups (more than one, and not all kept), group_best_two (else one), normalize, total (softmax, not normalize).
const row_lanes: u32 = (num_experts + 3u) / 4u;
const group_rows: u32 = num_lanes / row_lanes;
const nan_bits: u32 = 0x7fc00000u;

// Keys of choice scores; finite numbers have larger ones than not_finite.
const not_eligible: u32 = 0u;
const not_finite: u32 = 1u;

var<workgroup> keys: array<vec4<u32>, num_lanes>;
var<workgroup> is_bad: array<atomic<u32>, group_rows>;
var<workgroup> chosen_experts: array<u32, group_rows * num_slots>;
var<workgroup> chosen_logits: array<f32, group_rows * num_slots>;
#if has_groups
const group_size: u32 = num_experts / num_groups;
var<workgroup> group_keys: array<u32, group_rows * num_groups>;
#endif
#if total
// Of exp(logit - best).
var<workgroup> lane_sums: array<f32, num_lanes>;
#endif

fn is_finite(x: vec4<f32>) -> vec4<bool> {
  return (bitcast<vec4<u32>>(x) & vec4(0x7f800000u)) != vec4(0x7f800000u);
}

// Of what is about 0 or less: a difference of finite logits that is far down, maybe -infinity, never meets exp.
fn weight_of(x: vec4<f32>) -> vec4<f32> {
  return exp(max(x, vec4(-100.0)));
}

// In proportion to the score; `best` is the logit of the first chosen.
fn score_of(logit: f32, best: f32) -> f32 {
#if softmax
  return weight_of(vec4(logit - best)).x;
#else
  return sigmoid(logit);
#endif
}

#if has_groups
// A number in the order of the best score of a group, or of the sum of the two best.
fn group_score(best: f32, second: f32) -> f32 {
#if !group_best_two
  return best;
#elif softmax
  // The logarithm of the sum needs no maximum over the row.
  return best + log(1.0 + weight_of(vec4(second - best)).x);
#elif has_bias
  return best + second;
#else
  return sigmoid(best) + sigmoid(second);
#endif
}
#endif

fn load_logits(row: u32, k4: u32) -> vec4<f32> {
  let at = logits_offset + row * logits_stride + 4u * k4;
  return vec4(logits[at], logits[at + 1u], logits[at + 2u], logits[at + 3u]);
}

fn ids_of(k4: u32) -> vec4<u32> {
  return 4u * k4 + vec4(0u, 1u, 2u, 3u);
}

// The keys of the choice scores of a lane's experts, and whether a number of its row is not finite.
fn score_experts(x: vec4<f32>, lane: u32) {
  let k4 = lane % row_lanes;
#if has_bias
  let choice = vec4(sigmoid(x.x), sigmoid(x.y), sigmoid(x.z), sigmoid(x.w)) + bias[k4];
#else
  let choice = x;
#endif
  let is_expert = ids_of(k4) < vec4(num_experts);
  let is_fine = is_finite(x) & is_finite(choice);
  let choice_keys = vec4(key_of(choice.x), key_of(choice.y), key_of(choice.z), key_of(choice.w));
  keys[lane] = select(vec4(not_eligible), select(vec4(not_finite), choice_keys, is_fine), is_expert);
  if (any(is_expert & !is_fine)) {
    atomicStore(&is_bad[lane / row_lanes], 1u);
  }
}

#if has_groups
fn score_groups(lane: u32) {
  let k4 = lane % row_lanes;
  for (var g = k4; g < num_groups; g += row_lanes) {
    var best = 0u;
    var second = 0u;
    for (var i = g * group_size + batch.zero; i < (g + 1u) * group_size; i++) {
      let key = keys[lane - k4 + i / 4u][i % 4u];
      second = max(second, min(best, key));
      best = max(best, key);
    }
    group_keys[lane / row_lanes * num_groups + g] = key_of(group_score(value_of(best), value_of(second)));
  }
}

// Takes a lane's experts out of the choice whose group is not among the best.
fn keep_groups(lane: u32) {
  let first_group = lane / row_lanes * num_groups;
  let ids = ids_of(lane % row_lanes);
  var eligible = keys[lane];
  for (var i = 0u; i < 4u; i++) {
    let g = min(ids[i] / group_size, num_groups - 1u);
    let key = group_keys[first_group + g];
    var group_rank = 0u;
    for (var other = batch.zero; other < num_groups; other++) {
      let other_key = group_keys[first_group + other];
      group_rank += u32(other_key > key || (other_key == key && other < g));
    }
    if (group_rank >= kept_groups) {
      eligible[i] = not_eligible;
    }
  }
  keys[lane] = eligible;
}
#endif

// The experts of a lane that are among the best go to their ranks.
fn choose_experts(x: vec4<f32>, lane: u32) {
  let k4 = lane % row_lanes;
  let own = keys[lane];
  var rank = vec4(0u);
#if total
  var best_keys = vec4(0u);
#endif
  for (var other4 = batch.zero; other4 < row_lanes; other4++) {
    let other = keys[lane - k4 + other4];
    // Of equal keys the lower id is before: ids of lanes before this one count from the same key on.
    let least = own + select(1u, 0u, other4 < k4);
    rank += vec4<u32>(vec4(other.x) >= least) + vec4<u32>(vec4(other.y) >= least)
      + vec4<u32>(vec4(other.z) >= least) + vec4<u32>(vec4(other.w) >= least);
#if total
    best_keys = max(best_keys, other);
#endif
  }
  // And among the four of this lane.
  rank += vec4(
    0u,
    u32(own.x == own.y),
    u32(own.x == own.z) + u32(own.y == own.z),
    u32(own.x == own.w) + u32(own.y == own.w) + u32(own.z == own.w),
  );
  let ids = ids_of(k4);
  let first_slot = lane / row_lanes * num_slots;
  for (var i = 0u; i < 4u; i++) {
    if (rank[i] < num_slots) {
      chosen_experts[first_slot + rank[i]] = ids[i];
      chosen_logits[first_slot + rank[i]] = x[i];
    }
  }
#if total
  let best_logit = value_of(max(max(best_keys.x, best_keys.y), max(best_keys.z, best_keys.w)));
  let weights = select(vec4(0.0), weight_of(x - best_logit), ids < vec4(num_experts));
  lane_sums[lane] = weights.x + weights.y + weights.z + weights.w;
#endif
}

fn write_chosen(row: u32, lane: u32) {
  let local_row = lane / row_lanes;
  let k4 = lane % row_lanes;
  let first_slot = local_row * num_slots;
  let best = chosen_logits[first_slot];
#if normalize
  var sum = 0.0;
  for (var slot = 0u; slot < num_slots; slot++) {
    sum += score_of(chosen_logits[first_slot + slot], best);
  }
#elif total
  var sum = 0.0;
  for (var i = batch.zero; i < row_lanes; i++) {
    sum += lane_sums[lane - k4 + i];
  }
#else
  let sum = 1.0;
#endif
  for (var slot = k4; slot < num_slots; slot += row_lanes) {
    let value = score_of(chosen_logits[first_slot + slot], best) / sum * scale;
    experts[row * out_stride + slot] = chosen_experts[first_slot + slot];
    scales[row * out_stride + slot] = select(bitcast<u32>(value), nan_bits, atomicLoad(&is_bad[local_row]) != 0u);
  }
}

// Long loops begin at batch.zero, so that they are not unrolled.
@compute @workgroup_size(num_lanes)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let own_row = (group.x + group.y * grid_width) * group_rows + lane / row_lanes;
  // Lanes after the last row recompute it and write nothing, so that barriers stay uniform.
  let row = min(own_row, batch.rows - 1u);
  let x = load_logits(row, lane % row_lanes);
  score_experts(x, lane);
  workgroupBarrier();
#if has_groups
  score_groups(lane);
  workgroupBarrier();
  keep_groups(lane);
  workgroupBarrier();
#endif
  choose_experts(x, lane);
  workgroupBarrier();
  if (own_row < batch.rows) {
    write_chosen(row, lane);
  }
}
