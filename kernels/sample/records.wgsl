// The records of the sampler (layout.ts is the host's side).
// Expects: sampling: array<Sampling>.
struct Sampling {
  flags: u32,
  inverse_temperature: f32,
  top_k: u32,
  // In 1/2^32; whole_share is off.
  top_p: u32,
  // min-p as a distance: a token stays when max - x <= -temperature * ln(min_p). no_margin or more is off.
  min_p_margin: f32,
  repetition: f32,
  inverse_repetition: f32,
  presence: f32,
  frequency: f32,
  seed_low: u32,
  seed_high: u32,
  // The bits of -infinity, which WGSL takes for no constant. A slot of the tensor is 16 words.
  @size(20) banned: u32,
}

// What sampleScale tells of a block of tokens. Keys and sums without `model` are of the penalised logits.
struct Block {
  max_key: u32,
  // The lowest id among the likeliest.
  argmax: u32,
  // sum of exp((x - max) / temperature)
  sum: f32,
  // 1: NaN or +infinity is among the logits.
  is_bad: u32,
  model_max_key: u32,
  // sum of exp(logit - max)
  model_sum: f32,
  // Tokens of the whole vocabulary.
  vocab: u32,
  reserved: u32,
}

const is_greedy: u32 = 1u;
const uses_counts: u32 = 2u;
const uses_bias: u32 = 4u;
const uses_mask: u32 = 8u;

const whole_share: u32 = 0xffffffffu;
const no_margin: f32 = 3e38;

const negative_infinity_bits: u32 = 0xff800000u;
// The key (key_of) of the lowest finite number; a banned token (-infinity) stands below it.
const lowest_key: u32 = 0x00800000u;

// exp of what is at most 0; a plain 0 far down, so that infinities and denormals never meet exp.
fn weight_of(exponent: f32) -> f32 {
  return select(exp(max(exponent, -80.0)), 0.0, exponent < -80.0);
}
