// sampled word = a draw from softmax(x / temperature) over what top_k, top_p and min_p leave of the penalised logits x; counted in
// `counts`, and told to the host in `result`. NaN or +infinity among the logits, or every token banned: status 1, and neither
// `sampled` nor `counts` changes.
//   top_k: x at least the k-th largest stays. top_p: from the likeliest down, equal ones from the highest id down, a token
//   stays while the mass above it is less than top_p of what top_k left. min_p: what is at least min_p times as likely as the
//   likeliest stays. Greedy: the lowest id among the largest x.
// What is picked will stand `ahead` positions after the row of the logits (sampled-rows.wgsl).
// is_guessed: a row of a sequence after its first samples only if the row before picked its token; else its status is 2 and that is all.
// The draw is the first token, by id, whose running sum of weights exp((x - max) / temperature) passes random * their total.
// Layout: one workgroup for each sequence. Blocks whose record says that nothing of them can be drawn are not read.
// Expects: records.wgsl, fixed-point.wgsl, random.wgsl, search.wgsl, rows.wgsl, tokens.wgsl, sampled-rows.wgsl; logits, scaled:
//   array<vec4<f32>>, blocks: array<Block>, sampling: array<Sampling>, sampled, counts (is_counted): array<u32>, result: array<Result>;
//   block_vec4s (at most num_lanes), max_blocks, num_blocks (of a row), logits_offset, logits_stride, scaled_stride (in vec4s), counts_slot
//   (of a slot), ahead, num_lanes = 256. The size of the vocabulary is in the records.
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
var<private> slot: u32;
// Where the row's scaled logits begin.
var<private> scaled_begin: u32;
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
  return weight_of((x - top) * sampling[slot].inverse_temperature);
}

fn block_mass(b: u32) -> vec2<u32> {
  return vec2(atomicLoad(&block_masses[b]), atomicLoad(&block_masses[max_blocks + b]));
}

// What `count` tokens from the first of a vec4 on add to the mass that is drawn from.
fn mass_of(k4: u32, count: u32, threshold: vec2<u32>) -> vec2<u32> {
  let x = scaled[scaled_begin + k4];
  var mass = vec2(0u);
  for (var i = 0u; i < min(count, vocab - 4u * k4); i++) {
    let key = key_of(x[i]);
    let is_above = key > threshold.x || (key == threshold.x && 4u * k4 + i >= threshold.y);
    if (is_above && top - x[i] <= sampling[slot].min_p_margin) {
      mass = add(mass, fixed_point(relative_weight(x[i])));
    }
  }
  return mass;
}

#if is_guessed
var<workgroup> is_wrong: bool;

// Whether the row before picked another token than the row has, or none; the row's status tells it.
fn has_wrong_token(looked_at: SampledRow) -> bool {
  let at = looked_at.at;
  if (lane == 0u && !looked_at.is_first) {
    is_wrong = result[at - 1u].status != 0u || result[at - 1u].token != token_of(looked_at.row);
    if (is_wrong) {
      result[at].status = 2u;
    }
  }
  return workgroupUniformLoad(&is_wrong);
}
#endif

fn gather_records(first_block: u32) {
  for (var b = lane; b < num_blocks; b += num_lanes) {
    let key = blocks[first_block + b].max_key;
    block_keys[b] = key;
    atomicMax(&top_key, key);
    atomicMax(&model_top_key, blocks[first_block + b].model_max_key);
    atomicOr(&is_bad, blocks[first_block + b].is_bad);
  }
}

// Adds what a block gives to the softmax of the model's own logits.
fn add_model_mass(record: u32, model_top: f32) {
  let model_key = blocks[record].model_max_key;
  if (model_key >= lowest_key) {
    let mass = fixed_point(blocks[record].model_sum * weight_of(value_of(model_key) - model_top));
    let old = atomicAdd(&model_mass[0], mass.x);
    atomicAdd(&model_mass[1], mass.y + u32(old + mass.x < old));
  }
}

// The rank of a block's maximum, from 1; of equal ones the first comes first.
fn rank_of(b: u32) -> u32 {
  let key = block_keys[b];
  var rank = 1u;
  for (var other = 0u; other < num_blocks; other++) {
    let other_key = block_keys[other];
    rank += u32(other_key > key || (other_key == key && other < b));
  }
  return rank;
}

// The mass of a block where every token may be drawn, from its record.
fn take_whole_block(b: u32, record: u32) {
  if (block_keys[b] >= lowest_key) {
    let mass = fixed_point(blocks[record].sum * relative_weight(value_of(block_keys[b])));
    atomicStore(&block_masses[b], mass.x);
    atomicStore(&block_masses[max_blocks + b], mass.y);
  }
}

// The last (key, id) that stays.
fn find_threshold(is_random: bool, has_top_k: bool, has_top_p: bool, rules: Sampling) -> vec2<u32> {
  var threshold = vec2(select(atomicLoad(&top_key), max(bound, lowest_key), is_random), 0u);
  let kinds_end = select(by_mass, by_mass + 1u, has_top_p);
  for (var kind = select(by_mass, by_count, has_top_k); kind < kinds_end; kind++) {
    threshold = search(kind, threshold.x, select(rules.top_p, rules.top_k, kind == by_count));
  }
  return threshold;
}

// The masses of the blocks, of those tokens that stay.
fn add_staying(threshold: vec2<u32>) {
  for (var k4 = lane; 4u * k4 < vocab; k4 += num_lanes) {
    let b = k4 / block_vec4s;
    if (block_keys[b] >= threshold.x && top - value_of(block_keys[b]) <= sampling[slot].min_p_margin) {
      let mass = mass_of(k4, 4u, threshold);
      if (any(mass != vec2(0u))) {
        let old = atomicAdd(&block_masses[b], mass.x);
        atomicAdd(&block_masses[max_blocks + b], mass.y + u32(old + mass.x < old));
      }
    }
  }
}

// A drawn number: `rest` is what is left of it in the chosen block.
struct Draw {
  total: vec2<u32>,
  rest: vec2<u32>,
}

// Chooses the block that the draw falls into; greedy, the first that has the largest x.
fn draw_block(random: u32, is_random: bool, threshold: vec2<u32>) -> Draw {
  var total = vec2(0u);
  for (var b = 0u; b < num_blocks; b++) {
    total = add(total, block_mass(b));
  }
  var rest = share_of(total, random);
  var b = 0u;
  while (b < num_blocks - 1u && select(block_keys[b] < threshold.x, !is_less(rest, block_mass(b)), is_random)) {
    rest = subtract(rest, block_mass(b));
    b++;
  }
  chosen_block = b;
  return Draw(total, rest);
}

// The token that a draw falls on in the block that begins at vec4 `first`, or `otherwise`.
fn drawn_token(first: u32, drawn: vec2<u32>, threshold: vec2<u32>, otherwise: u32) -> u32 {
  var picked = otherwise;
  var rest = drawn;
  for (var l = 0u; l < block_vec4s; l++) {
    if (is_less(rest, lane_masses[l])) {
      picked = 4u * (first + l);
      while (picked % 4u < 3u && !is_less(rest, mass_of(first + l, picked % 4u + 1u, threshold))) {
        picked++;
      }
      break;
    }
    rest = subtract(rest, lane_masses[l]);
  }
  return picked;
}

fn write_result(looked_at: SampledRow, picked: u32, threshold: vec2<u32>, total: vec2<u32>, model_top: f32) {
  let at = looked_at.at;
  let status = u32(atomicLoad(&is_bad) != 0u || atomicLoad(&top_key) < lowest_key);
  if (status == 0u) {
    sampled[slot * sampled_stride + ahead - 1u] = picked;
#if is_counted
    counts[slot * counts_slot + picked] += 1u;
#endif
  }
  let x = scaled[scaled_begin + picked / 4u][picked % 4u];
  result[at] = Result(
    picked, status, position_of(looked_at.row) + ahead, threshold.y, value_of(threshold.x), top,
    (x - top) * sampling[slot].inverse_temperature, to_float(total),
    logits[logits_offset + at * logits_stride + picked / 4u][picked % 4u] - model_top,
    to_float(vec2(atomicLoad(&model_mass[0]), atomicLoad(&model_mass[1]))),
  );
}

// Once the masses of all blocks are known.
fn pick(looked_at: SampledRow, first_block: u32, is_random: bool, threshold: vec2<u32>, model_top: f32) {
  let rules = sampling[looked_at.slot];
  var draw: Draw;
  if (lane == 0u) {
    let position = position_of(looked_at.row) + ahead;
    draw = draw_block(random_bits(vec2(rules.seed_low, rules.seed_high), position), is_random, threshold);
  }
  workgroupBarrier();
  let first = chosen_block * block_vec4s;
  if (lane < block_vec4s && 4u * (first + lane) < vocab) {
    lane_masses[lane] = mass_of(first + lane, 4u, threshold);
  }
  workgroupBarrier();
  if (lane == 0u) {
    // What is picked when greedy, and when the sum in the record of a block exceeds that of its tokens in the last bits.
    var picked = blocks[first_block + chosen_block].argmax;
    var last = vec2(threshold.x, picked);
    if (is_random) {
      picked = drawn_token(first, draw.rest, threshold, picked);
      last.y = threshold.y;
    } else {
      draw.total = fixed_point(1.0);
    }
    write_result(looked_at, picked, last, draw.total, model_top);
  }
}

@compute @workgroup_size(num_lanes)
fn main(
  @builtin(local_invocation_index) local_index: u32,
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) num_groups: vec3<u32>,
) {
  lane = local_index;
  let looked_at = sampled_row(group, num_groups);
  if (!looked_at.exists) {
    return;
  }
  slot = looked_at.slot;
  scaled_begin = group.y * scaled_stride;
#if is_guessed
  if (has_wrong_token(looked_at)) {
    return;
  }
#endif
  let first_block = group.y * num_blocks;
  let num_tokens = blocks[first_block].vocab;
  vocab = num_tokens;
  gather_records(first_block);
  workgroupBarrier();

  top = value_of(atomicLoad(&top_key));
  let model_top = value_of(atomicLoad(&model_top_key));
  // What steers barriers comes from here, and not from the private variables: WGSL wants to see that all lanes agree.
  let rules = sampling[looked_at.slot];
  let is_random = (rules.flags & is_greedy) == 0u;
  let has_top_k = is_random && rules.top_k > 0u && rules.top_k < num_tokens;
  let has_top_p = is_random && rules.top_p < whole_share;
  let is_cut = has_top_k || has_top_p || (is_random && rules.min_p_margin < no_margin);
  for (var b = lane; b < num_blocks; b += num_lanes) {
    add_model_mass(first_block + b, model_top);
    if (has_top_k && rank_of(b) == rules.top_k) {
      bound = block_keys[b];
    }
    if (!is_cut) {
      take_whole_block(b, first_block + b);
    }
  }
  workgroupBarrier();

  let threshold = find_threshold(is_random, has_top_k, has_top_p, rules);
  if (is_cut) {
    add_staying(threshold);
  }
  workgroupBarrier();
  pick(looked_at, first_block, is_random, threshold, model_top);
}
