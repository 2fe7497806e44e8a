/**
 * @file The words that host and sampler exchange: the session tensors `sampling` and `counts` (written by the host at the
 * start of a generation) and `result` (read after every step). The structs of records.wgsl and sample-pick.wgsl are the
 * other side. Knows no device and checks no values; the engine has done that.
 *
 * Order of the rules: repetition penalty (prompt and output), presence and frequency penalty (output), logit bias,
 * mask, temperature, top-k (ties with the k-th value stay), top-p (of equal logits at the threshold the lowest ids go first,
 * as a stable ascending sort has it), min-p, softmax, draw.
 */

/** What to sample from, every value finite and in range. */
export interface SamplingParams {
  /** 0 is greedy, and so is anything below 1e-5: the quotient could overflow there. */
  readonly temperature: number;
  /** A whole number; 0 is off. */
  readonly topK: number;
  /** 0 to 1; 1 is off, 0 keeps the likeliest token. */
  readonly topP: number;
  /** 0 to 1; 0 is off. */
  readonly minP: number;
  /** Above 0; 1 is off. */
  readonly repetitionPenalty: number;
  /** 0 is off. */
  readonly presencePenalty: number;
  /** 0 is off. */
  readonly frequencyPenalty: number;
  /** A safe integer; with the position of the token it fixes the draw. */
  readonly seed: number;
}

export const NUM_SAMPLING_WORDS = 16;
export const NUM_RESULT_WORDS = 16;

const IS_GREEDY = 1;
const USES_COUNTS = 2;
const USES_BIAS = 4;
const USES_MASK = 8;
const NEGATIVE_INFINITY_BITS = 0xff80_0000;

/** In `counts`: the token occurs in the prompt. The bits below it tell how often it was generated. */
const IN_PROMPT = 0x8000_0000;

const MIN_TEMPERATURE = 1e-5;
/** top-p 1: off. */
const WHOLE_SHARE = 0xffff_ffff;
/** Stands for "min-p is off": no two logits of a model are that far apart. */
const NO_MARGIN = 3e38;

/** The tensor `sampling`. `hasBias`, `hasMask`: the tensors `bias` and `mask` hold something; without it they are not read. */
export function packSampling(
  params: SamplingParams,
  { hasBias, hasMask = false }: { hasBias: boolean; hasMask?: boolean },
): Uint32Array<ArrayBuffer> {
  const { temperature, minP, repetitionPenalty, presencePenalty, frequencyPenalty, seed } = params;
  const isGreedy = temperature < MIN_TEMPERATURE;
  const usesCounts = repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0;
  const words = new Uint32Array(NUM_SAMPLING_WORDS);
  const floats = new Float32Array(words.buffer);
  words[0] =
    (isGreedy ? IS_GREEDY : 0) |
    (usesCounts ? USES_COUNTS : 0) |
    (hasBias ? USES_BIAS : 0) |
    (hasMask ? USES_MASK : 0);
  floats[1] = isGreedy ? 1 : 1 / temperature;
  words[2] = Math.min(params.topK, 0xffff_ffff);
  words[3] = params.topP < 1 ? Math.min(params.topP * 2 ** 32, WHOLE_SHARE - 1) : WHOLE_SHARE;
  floats[4] = minP > 0 ? -temperature * Math.log(minP) : NO_MARGIN;
  floats[5] = repetitionPenalty;
  floats[6] = 1 / repetitionPenalty;
  floats[7] = presencePenalty;
  floats[8] = frequencyPenalty;
  words[9] = seed;
  words[10] = Math.floor(seed / 2 ** 32);
  words[11] = NEGATIVE_INFINITY_BITS;
  return words;
}

/** The tensor `counts` at the start of a generation; the sampler itself counts what it picks from then on. */
export function packCounts(
  vocab: number,
  promptIds: Iterable<number>,
  outputIds: Iterable<number> = [],
): Uint32Array<ArrayBuffer> {
  const counts = new Uint32Array(vocab);
  for (const id of promptIds) counts[id]! |= IN_PROMPT;
  for (const id of outputIds) counts[id]! += 1;
  return counts;
}

/** What a row picked, and the distribution it was drawn from. */
export interface SampleResult {
  /** The row was computed from a guess that was not sampled before it: nothing else here is meant. */
  readonly isSkipped: boolean;
  /** False: NaN or +Infinity is among the logits, or every token is banned. Nothing was sampled, and only `position` is meant. */
  readonly isFinite: boolean;
  readonly token: number;
  /** Where the token will stand. */
  readonly position: number;
  /** Natural logarithm of the token's probability in the distribution that was drawn from; 0 when greedy. */
  readonly logprob: number;
  /** The same under the plain softmax of the model's own logits: no penalty, bias, temperature or cut. */
  readonly modelLogprob: number;
  /** Of that softmax: the sum of exp(logit - largest logit). */
  readonly modelNormalizer: number;
  /**
   * With x the penalised logits, token i is kept when x[i] > threshold.logit, or x[i] is equal and i >= threshold.id, and
   * min-p allows it. Its probability then is exp((x[i] - max) / temperature) / normalizer.
   */
  readonly threshold: { readonly logit: number; readonly id: number };
  readonly max: number;
  readonly normalizer: number;
}

/** Status words of a result; 0 tells that a token was sampled. */
const UNUSABLE = 1;
const SKIPPED = 2;

/** One row of the tensor `result`. */
export function unpackResult(words: Uint32Array): SampleResult {
  const floats = new Float32Array(words.buffer, words.byteOffset, NUM_RESULT_WORDS);
  const [threshold, max, exponent, normalizer, modelExponent, modelNormalizer] = floats.subarray(4);
  return {
    isSkipped: words[1] === SKIPPED,
    isFinite: words[1] !== UNUSABLE,
    token: words[0]!,
    position: words[2]!,
    logprob: exponent! - Math.log(normalizer!),
    modelLogprob: modelExponent! - Math.log(modelNormalizer!),
    modelNormalizer: modelNormalizer!,
    threshold: { logit: threshold!, id: words[3]! },
    max: max!,
    normalizer: normalizer!,
  };
}
