// The thresholds of top_k and top_p without sorting: an adaptive radix search, from the highest down, for the token at which
// a running count or a running mass reaches a goal. Each round sorts the tokens between `low` and `high` into 256 bins, and
// goes on with those of the bin that reaches it, until they are equal. The first round has bins of a quarter of a logit: the
// upper bits of keys (sign, exponent) would crowd all tokens into a few bins, where atomics wait for each other.
// Expects: records.wgsl, fixed-point.wgsl, and from sample-pick.wgsl lane, vocab, top, block_keys, relative_weight.
const by_count: u32 = 0u;
const by_mass: u32 = 1u;

// Low words, then high words.
var<workgroup> bin_masses: array<atomic<u32>, 512>;
// The lowest and the highest number in each bin.
var<workgroup> bin_lows: array<atomic<u32>, 256>;
var<workgroup> bin_highs: array<atomic<u32>, 256>;
var<workgroup> found: vec2<u32>;

fn bin_mass(bin: u32) -> vec2<u32> {
  return vec2(atomicLoad(&bin_masses[bin]), atomicLoad(&bin_masses[256u + bin]));
}

// The tokens of a round: their keys, and their numbers, which are the keys, or (by id) the ids. Both ends belong to it.
struct Range {
  low_key: u32,
  high_key: u32,
  low: u32,
  high: u32,
}

fn clear_bins() {
  atomicStore(&bin_masses[lane], 0u);
  atomicStore(&bin_masses[256u + lane], 0u);
  atomicStore(&bin_lows[lane], 0xffffffffu);
  atomicStore(&bin_highs[lane], 0u);
}

fn fill_bins(kind: u32, range: Range, is_first: bool, is_by_id: bool) {
  let shift = max(firstLeadingBit(range.high - range.low), 7u) - 7u;
  for (var k4 = lane; 4u * k4 < vocab; k4 += num_lanes) {
    if (block_keys[k4 / block_vec4s] < range.low_key) {
      continue;
    }
    let x = scaled[scaled_begin + k4];
    for (var i = 0u; i < min(4u, vocab - 4u * k4); i++) {
      let key = key_of(x[i]);
      let number = select(key, 4u * k4 + i, is_by_id);
      if (key >= range.low_key && key <= range.high_key && number >= range.low && number <= range.high) {
        let distance = u32(min(4.0 * (top - x[i]), 255.0));
        let bin = select((number - range.low) >> shift, 255u - distance, is_first);
        let mass = select(vec2(1u, 0u), fixed_point(relative_weight(x[i])), kind == by_mass);
        atomicMin(&bin_lows[bin], number);
        atomicMax(&bin_highs[bin], number);
        let old = atomicAdd(&bin_masses[bin], mass.x);
        atomicAdd(&bin_masses[256u + bin], mass.y + u32(old + mass.x < old));
      }
    }
  }
}

// What the share `limit` of the mass in all bins is; at least 1: the likeliest token always stays.
fn goal_of(limit: u32) -> vec2<u32> {
  var total = vec2(0u);
  for (var bin = 0u; bin < 256u; bin++) {
    total = add(total, bin_mass(bin));
  }
  let goal = share_of(total, limit);
  return vec2(max(goal.x, u32(goal.y == 0u)), goal.y);
}

// Leaves in `found` the numbers of the bin that reaches the goal, and adds what lies above it to `above`. With fewer tokens than
// asked for all stay, from least_key on.
fn find_bin(goal: vec2<u32>, least_key: u32, above: ptr<function, vec2<u32>>) {
  var bin = 256u;
  var next = *above;
  while (bin > 0u && is_less(next, goal)) {
    bin--;
    *above = next;
    next = add(next, bin_mass(bin));
  }
  found = vec2(atomicLoad(&bin_lows[bin]), atomicLoad(&bin_highs[bin]));
  if (is_less(next, goal)) {
    found = vec2(least_key);
  }
}

// The last (key, id) that stays, of the tokens with key >= least_key.
// by_count: `limit` of them stay, and all that equal the last (id 0). by_mass: as many stay as reach the share `limit` of the
// mass, in 1/2^32; of equal ones the highest ids.
fn search(kind: u32, least_key: u32, limit: u32) -> vec2<u32> {
  var is_first = true;
  var is_by_id = false;
  var low_key = least_key;
  var high_key = 0xffffffffu;
  var low = least_key;
  var high = 0xffffffffu;
  // Known to lane 0 only.
  var goal = vec2(limit, 0u);
  var above = vec2(0u);
  loop {
    clear_bins();
    workgroupBarrier();
    fill_bins(kind, Range(low_key, high_key, low, high), is_first, is_by_id);
    workgroupBarrier();
    if (lane == 0u) {
      if (is_first && kind == by_mass) {
        goal = goal_of(limit);
      }
      find_bin(goal, least_key, &above);
    }
    let range = workgroupUniformLoad(&found);
    low = range.x;
    high = range.y;
    is_first = false;
    if (low == high) {
      if (is_by_id || kind == by_count) {
        break;
      }
      // Now among the ids of the tokens that all have this key.
      is_by_id = true;
      low_key = low;
      high_key = low;
      low = 0u;
      high = vocab - 1u;
    }
  }
  return select(vec2(low, 0u), vec2(low_key, low), is_by_id);
}
