// A group of values as integers: v = q * scale + bias, q in 0 .. top, scale and bias as bfloat16 in a word.
// The range that the integers span is searched: `candidates` ranges, the values' own and ones that cut ever more off both its ends,
// and each once more with the scale and bias that fit its integers best (least squares). That with the least sum of squared
// errors is taken, errors of what is really stored; the first is plain rounding to nearest, so no group is worse than by that.
// Layout: weights/int4.wgsl and int8.wgsl with scale-bf16.wgsl and plus-bias.wgsl.
// Expects: params.row_blocks and row_scales, target_data: array<vec4<u32>>, target_scale: array<u32>, values, decoded, group_vec4s,
//   code_bits, candidates.
const most: f32 = 1e30;
const top: f32 = f32((1u << code_bits) - 1u);
// Share of the range that each candidate cuts off more than the one before.
const cut: f32 = 0.04;

// Of a group: the scale word and bias that codes are made with, their error, and sums for the fit. Values count from `low`.
struct Fit {
  word: u32,
  error: f32,
  sum_q: f32,
  sum_qq: f32,
  sum_v: f32,
  sum_qv: f32,
}

fn scale_and_bias(word: u32) -> vec2<f32> {
  return vec2(bitcast<f32>(word << 16u), bitcast<f32>(word & 0xffff0000u));
}

fn codes_of(v: vec4<f32>, s: vec2<f32>) -> vec4<f32> {
  // A scale may be so small that its reciprocal is none; then nothing is lost by the bias alone.
  let inverse = select(0.0, 1.0 / s.x, s.x > 1e-37);
  return clamp(round((v - s.y) * inverse), vec4(0.0), vec4(top));
}

fn fit(scale: f32, bias: f32, low: f32) -> Fit {
  let bits = bf16_bits(vec4(scale, bias, 0.0, 0.0));
  var f = Fit(bits.x | (bits.y << 16u), 0.0, 0.0, 0.0, 0.0, 0.0);
  let s = scale_and_bias(f.word);
  for (var i = 0u; i < group_vec4s; i++) {
    let v = values[i];
    let q = codes_of(v, s);
    let e = q * s.x + s.y - v;
    let u = v - low;
    f.error += dot(e, e);
    f.sum_q += dot(q, vec4(1.0));
    f.sum_qq += dot(q, q);
    f.sum_v += dot(u, vec4(1.0));
    f.sum_qv += dot(q, u);
  }
  return f;
}

fn best_word() -> u32 {
  var least = values[0];
  var largest = values[0];
  for (var i = 1u; i < group_vec4s; i++) {
    least = min(least, values[i]);
    largest = max(largest, values[i]);
  }
  let low = min(min(least.x, least.y), min(least.z, least.w));
  let range = max(max(largest.x, largest.y), max(largest.z, largest.w)) - low;
  let n = f32(4u * group_vec4s);
  var best = Fit();
  for (var i = 0u; i < candidates; i++) {
    let share = cut * f32(i);
    let tried = fit(range * (1.0 - share) / top, low + range * share / 2.0, low);
    if (i == 0u || tried.error < best.error) { best = tried; }
    let spread = n * tried.sum_qq - tried.sum_q * tried.sum_q;
    let scale = (n * tried.sum_qv - tried.sum_q * tried.sum_v) / max(spread, 1.0);
    if (spread >= 1.0 && scale > 0.0) {
      let fitted = fit(scale, low + (tried.sum_v - scale * tried.sum_q) / n, low);
      if (fitted.error < best.error) { best = fitted; }
    }
  }
  return best.word;
}

fn encode(row: u32, group: u32) {
  const vec4s_of_word = 8u / code_bits;
  const vec4s_of_block = 4u * vec4s_of_word;
  const blocks = group_vec4s / vec4s_of_block;
  let word = best_word();
  target_scale[row * params.row_scales + group] = word;
  let s = scale_and_bias(word);
  let shifts = vec4(0u, 1u, 2u, 3u) * code_bits;
  for (var b = 0u; b < blocks; b++) {
    var bits = vec4<u32>();
    for (var i = 0u; i < vec4s_of_block; i++) {
      let at = b * vec4s_of_block + i;
      let q = codes_of(values[at], s);
      decoded[at] = q * s.x + s.y;
      let four = vec4<u32>(q) << (shifts + 16u * (i % vec4s_of_word));
      bits[i / vec4s_of_word] |= four.x | four.y | four.z | four.w;
    }
    let block = group * blocks + b;
    if (block < params.row_blocks) { target_data[row * params.row_blocks + block] = bits; }
  }
}
