// dst[dst_first + i * dst_major + j * dst_minor] |= src[src_first + i * src_major + j], i < majors, j < minors: rows that take
// turns in a fused weight (gate 0, up 0, gate 1, ...), tensors stored the other way round, halves of words. Weights begin as
// zeros, and no bit is written twice.
// Expects: params, src: array<u32>, dst: array<u32>.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let at = id.x + id.y * grid.x * 64u;
  if (at >= params.majors * params.minors) { return; }
  let i = at / params.minors;
  let j = at % params.minors;
  dst[params.dst_first + i * params.dst_major + j * params.dst_minor] |= src[params.src_first + i * params.src_major + j];
}
