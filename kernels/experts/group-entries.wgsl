// The entries (row * num_slots + slot) of the batch sorted by expert, and tiles of at most tile_rows entries of one expert:
//   tiles[t] = (expert, first entry, number of entries, 0), dispatch = (column_tiles, number of tiles, 1, 0).
// Layout: one workgroup. It counts per expert; each lane adds up what stands before its experts, which costs one barrier where
//   a scan costs many; then every entry takes the next place of its expert. The order within an expert is that of the
//   atomics. An entry of an expert that does not exist has no place.
// Expects: experts: array<vec4<u32>>, experts_offset, experts_stride (in vec4s); entries: array<u32>, tiles, dispatch:
//   array<vec4<u32>>; num_slots, num_experts, tile_rows, column_tiles, num_lanes.
const slot_vec4s: u32 = (num_slots + 3u) / 4u;

var<workgroup> counts: array<atomic<u32>, num_experts>;
var<workgroup> places: array<atomic<u32>, num_experts>;

@compute @workgroup_size(num_lanes)
fn main(@builtin(local_invocation_index) lane: u32) {
  let num_vec4s = batch.rows * slot_vec4s;
  for (var i = lane; i < num_vec4s; i += num_lanes) {
    let slot = 4u * (i % slot_vec4s);
    let four = experts[experts_offset + i / slot_vec4s * experts_stride + i % slot_vec4s];
    for (var c = 0u; c < min(4u, num_slots - slot); c++) {
      if (four[c] < num_experts) {
        atomicAdd(&counts[four[c]], 1u);
      }
    }
  }
  workgroupBarrier();

  for (var expert = lane; expert < num_experts; expert += num_lanes) {
    var first = 0u;
    var tile = 0u;
    for (var other = 0u; other < expert; other++) {
      let count = atomicLoad(&counts[other]);
      first += count;
      tile += (count + tile_rows - 1u) / tile_rows;
    }
    atomicStore(&places[expert], first);
    let end = first + atomicLoad(&counts[expert]);
    for (; first < end; first += tile_rows) {
      tiles[tile] = vec4(expert, first, min(end - first, tile_rows), 0u);
      tile++;
    }
    if (expert == num_experts - 1u) {
      dispatch[0] = vec4(column_tiles, tile, 1u, 0u);
    }
  }
  workgroupBarrier();

  for (var i = lane; i < num_vec4s; i += num_lanes) {
    let row = i / slot_vec4s;
    let slot = 4u * (i % slot_vec4s);
    let four = experts[experts_offset + row * experts_stride + i % slot_vec4s];
    for (var c = 0u; c < min(4u, num_slots - slot); c++) {
      if (four[c] < num_experts) {
        entries[atomicAdd(&places[four[c]], 1u)] = row * num_slots + slot + c;
      }
    }
  }
}
