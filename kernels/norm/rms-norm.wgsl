// out = x * rsqrt(mean(x^2) + eps) * norm over the last dim of x.
// Layout: a workgroup of one row (or head) at a time; strides in f32.
// Expects: width, heads, x_offset, x_stride, out_offset, out_stride, eps, num_lanes, num_sums (1); a reduction.
@compute @workgroup_size(num_lanes)
fn main(at: Invocation) {
  let row = at.group.y;
  let x_begin = x_offset + row * x_stride + at.group.x * width;
  let out_begin = out_offset + row * out_stride + at.group.x * width;
  var squares = array<f32, 1>(0.0);
  for (var k = at.lane; k < width; k += num_lanes) { squares[0] += x[x_begin + k] * x[x_begin + k]; }
  let scale = inverseSqrt(sum_lanes(squares, at)[0] / f32(width) + eps);
  for (var k = at.lane; k < width; k += num_lanes) { out[out_begin + k] = x[x_begin + k] * scale * norm[k / 4u][k % 4u]; }
}
