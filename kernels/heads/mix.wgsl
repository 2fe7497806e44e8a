// The orthonormal Walsh-Hadamard transform of heads, by lanes that hold four values each:
//   out[i] = mix_scale * sum_j (-1)^popcount(i & j) x[j], mix_scale = 1 / sqrt(mix_dim)
// In log2(mix_dim) steps sums and differences of pairs take the pairs' places.
// Expects: threads, mix_dim (a power of two), mix_scale.
var<workgroup> mixed: array<f32, 4u * threads>;

fn add_and_subtract(begin: u32, pair: u32, span: u32) {
  let i = begin + pair / span * 2u * span + pair % span;
  let a = mixed[i];
  let b = mixed[i + span];
  mixed[i] = a + b;
  mixed[i + span] = a - b;
}

// By all lanes together. A lane's head begins at `begin` in `mixed`, where its values are, in order; `has_values`: this lane has some.
fn mix_heads(begin: u32, unit: u32, has_values: bool) {
  for (var span = 1u; span < mix_dim; span *= 2u) {
    workgroupBarrier();
    if (has_values) {
      add_and_subtract(begin, 2u * unit, span);
      add_and_subtract(begin, 2u * unit + 1u, span);
    }
  }
  workgroupBarrier();
}
