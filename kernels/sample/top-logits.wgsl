// top[row, part] = the `count` largest of the part's entries as (id, bits of the logit), the largest first, of equal ones the
// lowest id. -infinity is no entry; where there are too few the id is 0xffffffff.
// Layout: a workgroup per part and row. In each round every lane offers the best of its own entries that comes after the last
//   choice, and the best offer is chosen; an entry is (key of the logit, ~id), of which the largest comes first.
// Expects: ordered-key.wgsl; x: array<f32> of logits, or (is_merge) array<vec2<u32>> of entries chosen before;
//   top: array<vec2<u32>>; count, part_size, num_entries (of a row), x_stride, top_stride (in elements), num_lanes = 256.
const negative_infinity_bits: u32 = 0xff800000u;
// The key of the lowest finite number.
const lowest_key: u32 = 0x00800000u;
const nothing = vec2(0u);

var<workgroup> keys: array<atomic<u32>, count>;
var<workgroup> id_complements: array<atomic<u32>, count>;

fn entry_at(row: u32, i: u32) -> vec2<u32> {
#if is_merge
  let found = x[row * x_stride + i];
  let entry = vec2(key_of(bitcast<f32>(found.y)), ~found.x);
#else
  let entry = vec2(key_of(x[row * x_stride + i]), ~i);
#endif
  return select(nothing, entry, entry.x >= lowest_key);
}

fn is_less(a: vec2<u32>, b: vec2<u32>) -> bool {
  return a.x < b.x || (a.x == b.x && a.y < b.y);
}

@compute @workgroup_size(num_lanes)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let row = group.y;
  let end = min((group.x + 1u) * part_size, num_entries);
  var chosen = vec2(0xffffffffu);
  var own = chosen;
  for (var round = 0u; round < count; round++) {
    if (all(own == chosen)) {
      own = nothing;
      for (var i = group.x * part_size + lane; i < end; i += num_lanes) {
        let entry = entry_at(row, i);
        if (is_less(entry, chosen) && is_less(own, entry)) {
          own = entry;
        }
      }
    }
    atomicMax(&keys[round], own.x);
    workgroupBarrier();
    let key = atomicLoad(&keys[round]);
    if (own.x == key) {
      atomicMax(&id_complements[round], own.y);
    }
    workgroupBarrier();
    chosen = vec2(key, atomicLoad(&id_complements[round]));
  }
  if (lane < count) {
    let key = atomicLoad(&keys[lane]);
    let bits = select(negative_infinity_bits, bitcast<u32>(value_of(key)), key >= lowest_key);
    top[row * top_stride + group.x * count + lane] = vec2(~atomicLoad(&id_complements[lane]), bits);
  }
}
