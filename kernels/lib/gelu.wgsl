// gelu: x * phi(x), phi(x) = (1 + erf(x / sqrt(2))) / 2 = erfc(-x / sqrt(2)) / 2.
// erfc(z) = t * exp(-z^2 + polynomial(t)), t = 1 / (1 + z / 2), to 1.2e-7 of it for z >= 0: Numerical Recipes, erfcc.
fn activate(x: f32) -> f32 {
  // Beyond 12 the result is x or 0, and exp must not leave the numbers. A NaN stays NaN as a factor.
  let z = min(abs(x), 12.0) * 0.7071067811865476;
  let t = 1.0 / (1.0 + 0.5 * z);
  var power = 0.17087277;
  power = power * t - 0.82215223;
  power = power * t + 1.48851587;
  power = power * t - 1.13520398;
  power = power * t + 0.27886807;
  power = power * t - 0.18628806;
  power = power * t + 0.09678418;
  power = power * t + 0.37409196;
  power = power * t + 1.00002368;
  power = power * t - 1.26551223;
  let half_erfc = 0.5 * t * exp(power - z * z);
  return x * select(1.0 - half_erfc, half_erfc, x < 0.0);
}
