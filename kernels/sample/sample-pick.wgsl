// token = a draw from softmax(x / temperature) over what top_k, top_p and min_p leave of the penalised logits x; counted in
// `counts`, and told to the host in `result`. NaN or +infinity among the logits, or every token banned: status 1, and neither
// `token` nor `counts` changes.
//   top_k: x at least the k-th largest stays. top_p: from the likeliest down, equal ones from the highest id down, a token
//   stays while the mass above it is less than top_p of what top_k left. min_p: what is at least min_p times as likely as the
//   likeliest stays. Greedy: the lowest id among the largest x.
// What is picked will stand `ahead` behind the row of the logits: the step's last, or (is_any_row) the grid's depth - 1.
// is_guessed: a row behind the first samples only if the row before picked its token; else its status is 2 and that is all.
// The draw is the first token, by id, whose running sum of weights exp((x - max) / temperature) passes random * their total.
// Layout: one workgroup. Blocks whose record says that nothing of them can be drawn are not read.
// Expects: records.wgsl, fixed-point.wgsl, random.wgsl, search.wgsl; logits, scaled: array<vec4<f32>>, blocks: array<Block>,
//   sampling: array<Sampling>, token, counts (is_counted), tokens (is_guessed): array<u32>, result: array<Result>;
//   block_vec4s (at most num_lanes), max_blocks, logits_offset, logits_stride (in vec4s), token_offset, ahead, num_lanes = 256.
//   The size of the vocabulary is in the records.
struct Result {
  token: u32,
  status: u32,
  position: u32,
  // The last token that stays, and its logit.
  threshold_id: u32,
  threshold: f32,
  max: f32,
  // probability = exp(exponent) / normalizer
  exponent: f32,
  normalizer: f32,
  // The same for the softmax of the model's own logits.
  model_exponent: f32,
  // A row of the tensor is 16 words.
  @size(28) model_normalizer: f32,
}

var<private> lane: u32;
var<private> vocab: u32;
// The largest penalised logit.
var<private> top: f32;
var<workgroup> top_key: atomic<u32>;
var<workgroup> model_top_key: atomic<u32>;
var<workgroup> is_bad: atomic<u32>;
// Low and high word.
var<workgroup> model_mass: array<atomic<u32>, 2>;
var<workgroup> block_keys: array<u32, max_blocks>;
// What may be drawn of each block: low words, then high words.
var<workgroup> block_masses: array<atomic<u32>, 2u * max_blocks>;
// The block maximum of rank top_k: top_k tokens or more are at or above it.
var<workgroup> bound: u32;
var<workgroup> chosen_block: u32;
var<workgroup> lane_masses: array<vec2<u32>, num_lanes>;

fn relative_weight(x: f32) -> f32 {
  return weight_of((x - top) * sampling[0].inverse_temperature);
}

fn block_mass(b: u32) -> vec2<u32> {
  return vec2(atomicLoad(&block_masses[b]), atomicLoad(&block_masses[max_blocks + b]));
}

// What `count` tokens from the first of a vec4 on add to the mass that is drawn from.
fn mass_of(k4: u32, count: u32, threshold: vec2<u32>) -> vec2<u32> {
  let x = scaled[k4];
  var mass = vec2(0u);
  for (var i = 0u; i < min(count, vocab - 4u * k4); i++) {
    let key = key_of(x[i]);
    let is_above = key > threshold.x || (key == threshold.x && 4u * k4 + i >= threshold.y);
    if (is_above && top - x[i] <= sampling[0].min_p_margin) {
      mass = add(mass, fixed_point(relative_weight(x[i])));
    }
  }
  return mass;
}

#if is_guessed
var<workgroup> is_wrong: bool;
#endif

@compute @workgroup_size(num_lanes)
fn main(
  @builtin(local_invocation_index) local_index: u32,
#if is_any_row
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) num_groups: vec3<u32>,
#endif
) {
  lane = local_index;
#if is_any_row
  let row = num_groups.z - 1u;
  if (group.z < row) {
    return;
  }
  let position = step.position + row + ahead;
#else
  let row = 0u;
  let position = step.position + step.rows - 1u + ahead;
#endif
#if is_guessed
  if (lane == 0u && row > 0u) {
    is_wrong = result[row - 1u].status != 0u || result[row - 1u].token != tokens[row];
    if (is_wrong) {
      result[row].status = 2u;
    }
  }
  if (workgroupUniformLoad(&is_wrong)) {
    return;
  }
#endif
  let num_tokens = blocks[0].vocab;
  vocab = num_tokens;
  let num_blocks = (num_tokens + 4u * block_vec4s - 1u) / (4u * block_vec4s);
  for (var b = lane; b < num_blocks; b += num_lanes) {
    let key = blocks[b].max_key;
    block_keys[b] = key;
    atomicMax(&top_key, key);
    atomicMax(&model_top_key, blocks[b].model_max_key);
    atomicOr(&is_bad, blocks[b].is_bad);
  }
  workgroupBarrier();

  top = value_of(atomicLoad(&top_key));
  let model_top = value_of(atomicLoad(&model_top_key));
  let rules = sampling[0];
  let is_random = (rules.flags & is_greedy) == 0u;
  let has_top_k = is_random && rules.top_k > 0u && rules.top_k < num_tokens;
  let has_top_p = is_random && rules.top_p < whole_share;
  let is_cut = has_top_k || has_top_p || (is_random && rules.min_p_margin < no_margin);
  for (var b = lane; b < num_blocks; b += num_lanes) {
    let key = block_keys[b];
    let model_key = blocks[b].model_max_key;
    if (model_key >= lowest_key) {
      let mass = fixed_point(blocks[b].model_sum * weight_of(value_of(model_key) - model_top));
      let old = atomicAdd(&model_mass[0], mass.x);
      atomicAdd(&model_mass[1], mass.y + u32(old + mass.x < old));
    }
    if (has_top_k) {
      var rank = 1u;
      for (var other = 0u; other < num_blocks; other++) {
        let other_key = block_keys[other];
        rank += u32(other_key > key || (other_key == key && other < b));
      }
      if (rank == rules.top_k) {
        bound = key;
      }
    }
    if (!is_cut && key >= lowest_key) {
      let mass = fixed_point(blocks[b].sum * relative_weight(value_of(key)));
      atomicStore(&block_masses[b], mass.x);
      atomicStore(&block_masses[max_blocks + b], mass.y);
    }
  }
  workgroupBarrier();

  var threshold = vec2(select(atomicLoad(&top_key), max(bound, lowest_key), is_random), 0u);
  let kinds_end = select(by_mass, by_mass + 1u, has_top_p);
  for (var kind = select(by_mass, by_count, has_top_k); kind < kinds_end; kind++) {
    threshold = search(kind, threshold.x, select(rules.top_p, rules.top_k, kind == by_count));
  }
  for (var k4 = lane; 4u * k4 < vocab && is_cut; k4 += num_lanes) {
    let b = k4 / block_vec4s;
    if (block_keys[b] >= threshold.x && top - value_of(block_keys[b]) <= rules.min_p_margin) {
      let mass = mass_of(k4, 4u, threshold);
      if (any(mass != vec2(0u))) {
        let old = atomicAdd(&block_masses[b], mass.x);
        atomicAdd(&block_masses[max_blocks + b], mass.y + u32(old + mass.x < old));
      }
    }
  }
  workgroupBarrier();

  var total = vec2(0u);
  var drawn = vec2(0u);
  if (lane == 0u) {
    for (var b = 0u; b < num_blocks; b++) {
      total = add(total, block_mass(b));
    }
    drawn = share_of(total, random_bits(vec2(rules.seed_low, rules.seed_high), position));
    var b = 0u;
    while (b < num_blocks - 1u && select(block_keys[b] < threshold.x, !is_less(drawn, block_mass(b)), is_random)) {
      drawn = subtract(drawn, block_mass(b));
      b++;
    }
    chosen_block = b;
  }
  workgroupBarrier();
  let first = chosen_block * block_vec4s;
  if (lane < block_vec4s && 4u * (first + lane) < vocab) {
    lane_masses[lane] = mass_of(first + lane, 4u, threshold);
  }
  workgroupBarrier();

  if (lane == 0u) {
    // What is picked when greedy, and when the sum in the record of a block exceeds that of its tokens in the last bits.
    var picked = blocks[chosen_block].argmax;
    for (var l = 0u; l < block_vec4s && is_random; l++) {
      if (is_less(drawn, lane_masses[l])) {
        picked = 4u * (first + l);
        while (picked % 4u < 3u && !is_less(drawn, mass_of(first + l, picked % 4u + 1u, threshold))) {
          picked++;
        }
        break;
      }
      drawn = subtract(drawn, lane_masses[l]);
    }
    if (!is_random) {
      threshold.y = picked;
      total = fixed_point(1.0);
    }
    let status = u32(atomicLoad(&is_bad) != 0u || atomicLoad(&top_key) < lowest_key);
    if (status == 0u) {
      token[token_offset] = picked;
#if is_counted
      counts[picked] += 1u;
#endif
    }
    let x = scaled[picked / 4u][picked % 4u];
    result[row] = Result(
      picked, status, position, threshold.y, value_of(threshold.x), top,
      (x - top) * rules.inverse_temperature, to_float(total),
      logits[logits_offset + row * logits_stride + picked / 4u][picked % 4u] - model_top,
      to_float(vec2(atomicLoad(&model_mass[0]), atomicLoad(&model_mass[1]))),
    );
  }
}
