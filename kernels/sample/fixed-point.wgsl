// u64 numbers as (low, high). Weights are summed as fixed point with 44 fractional bits: integers give the same sum in any
// order, so atomics may add them, and the parts of a sum add up to it exactly. 2^19 weights of at most 1 stay below 2^63.
fn fixed_point(weight: f32) -> vec2<u32> {
  let high = floor(weight * 4096.0);
  return vec2(u32((weight * 4096.0 - high) * 4294967296.0), u32(high));
}

fn to_float(a: vec2<u32>) -> f32 {
  return (f32(a.y) + f32(a.x) / 4294967296.0) / 4096.0;
}

fn add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let low = a.x + b.x;
  return vec2(low, a.y + b.y + u32(low < a.x));
}

// For b at most a.
fn subtract(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return vec2(a.x - b.x, a.y - b.y - u32(a.x < b.x));
}

fn is_less(a: vec2<u32>, b: vec2<u32>) -> bool {
  return a.y < b.y || (a.y == b.y && a.x < b.x);
}

// floor(a * fraction / 2^32): less than a, unless a is 0.
fn share_of(a: vec2<u32>, fraction: u32) -> vec2<u32> {
  // a.y * fraction and a.x * fraction, by halves of words.
  let low = (a.yx & vec2(0xffffu)) * (fraction & 0xffffu);
  let middle = (a.yx >> vec2(16u)) * (fraction & 0xffffu) + (low >> vec2(16u));
  let other = (a.yx & vec2(0xffffu)) * (fraction >> 16u) + (middle & vec2(0xffffu));
  let high = (a.yx >> vec2(16u)) * (fraction >> 16u) + (middle >> vec2(16u)) + (other >> vec2(16u));
  return add(vec2(a.y * fraction, high.x), vec2(high.y, 0u));
}
