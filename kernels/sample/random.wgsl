// 32 random bits, fixed by seed and position alone: the hash pcg4d (Jarzynski and Olano, "Hash Functions for GPU Rendering",
// Journal of Computer Graphics Techniques 9(3), 2020) of (seed, position, 0). Random access, so that steps in flight need no state.
fn random_bits(seed: vec2<u32>, position: u32) -> u32 {
  var v = vec4(seed, position, 0u) * 1664525u + 1013904223u;
  for (var i = 0u; i < 2u; i++) {
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    v ^= select(vec4(0u), v >> vec4(16u), i == 0u);
  }
  return v.x;
}
