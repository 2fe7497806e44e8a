// out[r, h] = sum_s 2^(largest_s - largest) sums_s / sum_s 2^(largest_s - largest) weight_s, over the partial results of the row's
// splits (attend-split.wgsl): one head of one row is a workgroup, v_vec4s neighbouring lanes a slot, and slot i takes every
// num_slots-th split, so that the order of the sums is fixed.
// Layout: partials rows of [heads, max_splits, width] in vec4: v_vec4s of sums, then (largest, weight). Strides in vec4.
// Expects: v_vec4s, num_slots, width, partials_stride, out_offset, out_stride; parts rows.wgsl, walk-*.wgsl and split.wgsl;
// partials, out.

const threads = v_vec4s * num_slots;
const lowest = -3.402823466e38;

var<workgroup> sums: array<vec4<f32>, threads>; // [slot][column]
var<workgroup> scales: array<vec2<f32>, num_slots>; // largest, weight

@compute @workgroup_size(threads)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let head = group.x;
  let row = group.y;
  let slot = lane / v_vec4s;
  let column = lane % v_vec4s;
  let end = num_splits(splits_of(position_of(row)));

  var largest = lowest;
  var weight = 0.0;
  var sum = vec4<f32>(0.0);
  for (var split = slot; split < end; split += num_slots) {
    let begin = row * partials_stride + (head * max_splits + split) * width;
    let part = partials[begin + v_vec4s].xy;
    let best = max(largest, part.x);
    let shrink = exp2(largest - best);
    let grow = exp2(part.x - best);
    largest = best;
    weight = weight * shrink + part.y * grow;
    sum = sum * shrink + partials[begin + column] * grow;
  }
  sums[lane] = sum;
  if (column == 0u) {
    scales[slot] = vec2<f32>(largest, weight);
  }
  workgroupBarrier();

  if (slot == 0u) {
    for (var i = 1u; i < num_slots; i++) {
      largest = max(largest, scales[i].x);
    }
    weight = 0.0;
    sum = vec4<f32>(0.0);
    for (var i = 0u; i < num_slots; i++) {
      let shrink = exp2(scales[i].x - largest);
      weight += scales[i].y * shrink;
      sum += sums[i * v_vec4s + column] * shrink;
    }
    out[out_offset + row * out_stride + head * v_vec4s + column] = sum / weight;
  }
}
