// dst[dst_first + i * dst_major + j * dst_minor] |= src[src_first + i * src_major + j], i < majors, j < minors: rows that take
// turns in a fused weight (gate 0, up 0, gate 1, ...), tensors stored the other way round, halves of words. Weights begin as
// zeros, and no bit is written twice.
struct Words {
  majors: u32,
  minors: u32,
  src_first: u32,
  src_major: u32,
  dst_first: u32,
  dst_major: u32,
  dst_minor: u32,
}
@group(0) @binding(0) var<uniform> p: Words;
@group(0) @binding(1) var<storage, read> src: array<u32>;
@group(0) @binding(2) var<storage, read_write> dst: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let at = id.x + id.y * grid.x * 64u;
  if (at >= p.majors * p.minors) { return; }
  let i = at / p.minors;
  let j = at % p.minors;
  dst[p.dst_first + i * p.dst_major + j * p.dst_minor] |= src[p.src_first + i * p.src_major + j];
}
