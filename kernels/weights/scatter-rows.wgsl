// dst row (first + r * stride) = src row r, for r < rows: puts rows of a fused weight in turn (gate 0, up 0, gate 1, ...).
// Rows are whole vec4<u32>; a thread copies one of them.
struct Rows { rows: u32, row_vec4s: u32, first: u32, stride: u32 }
@group(0) @binding(0) var<uniform> p: Rows;
@group(0) @binding(1) var<storage, read> src: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> dst: array<vec4<u32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let i = id.x + id.y * grid.x * 64u;
  if (i >= p.rows * p.row_vec4s) { return; }
  let row = i / p.row_vec4s;
  dst[(p.first + row * p.stride) * p.row_vec4s + i % p.row_vec4s] = src[i];
}
