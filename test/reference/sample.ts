/** @file Twins of `sampleScale` and `samplePick`: plain loops in float64, as transformers' logits processors have it. */

export interface SampleRules {
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  presencePenalty: number;
  frequencyPenalty: number;
}

/** Logits after penalties and bias, before the temperature. */
export function penalise(
  logits: ArrayLike<number>,
  rules: SampleRules,
  promptIds: readonly number[],
  outputIds: readonly number[],
  bias?: ArrayLike<number>,
): Float64Array {
  const x = Float64Array.from(logits);
  for (const id of new Set([...promptIds, ...outputIds])) {
    x[id] = x[id]! > 0 ? x[id]! / rules.repetitionPenalty : x[id]! * rules.repetitionPenalty;
  }
  for (const id of new Set(outputIds)) x[id]! -= rules.presencePenalty;
  for (const id of outputIds) x[id]! -= rules.frequencyPenalty;
  return bias ? x.map((value, id) => value + bias[id]!) : x;
}

/**
 * Probabilities by id, 0 for what the rules remove. `slack` loosens (or, negative, tightens) the two rules that compare
 * masses, so that a test can tell a wrong decision from one that rounding may turn either way.
 */
export function distribution(
  x: ArrayLike<number>,
  { temperature, topK, topP, minP }: SampleRules,
  slack = 0,
): Float64Array {
  const descending = Float64Array.from(x).sort().reverse();
  const max = descending[0]!;
  const weights = Float64Array.from(x, (value) => Math.exp((value - max) / temperature));
  if (topK > 0 && topK < x.length) {
    const least = descending[topK - 1]!;
    for (let id = 0; id < x.length; id++) if (x[id]! < least) weights[id] = 0;
  }
  if (topP < 1) {
    // Ascending and stable: of equal logits the lowest id is dropped first. The likeliest always stays.
    const ascending = [...weights.keys()].filter((id) => weights[id]! > 0).sort((a, b) => x[a]! - x[b]!);
    const total = sum(weights);
    let running = 0;
    for (const id of ascending.slice(0, -1)) {
      running += weights[id]!;
      if (running <= (1 - topP - slack) * total) weights[id] = 0;
    }
  }
  for (let id = 0; id < x.length; id++) if (weights[id]! < minP - slack) weights[id] = 0;
  const total = sum(weights);
  return weights.map((weight) => weight / total);
}

/** The first id whose running sum of probabilities passes `uniform`. */
export function draw(probs: Float64Array, uniform: number): number {
  let running = 0;
  let last = -1;
  for (let id = 0; id < probs.length; id++) {
    if (probs[id] === 0) continue;
    running += probs[id]!;
    if (running > uniform) return id;
    last = id;
  }
  return last;
}

/**
 * Tokens sampled behind rows of logits, the first at `position`: row by row, each by the rules and with the tokens before it
 * counted, as long as what was sampled is what `guesses` says of the next row.
 */
export function sampleRows(
  rows: readonly ArrayLike<number>[],
  guesses: readonly number[],
  rules: SampleRules & { seed: number },
  position: number,
  promptIds: readonly number[] = [],
  outputIds: readonly number[] = [],
): number[] {
  const tokens: number[] = [];
  for (const [i, logits] of rows.entries()) {
    const x = penalise(logits, rules, promptIds, [...outputIds, ...tokens]);
    const token =
      rules.temperature === 0
        ? x.indexOf(Math.max(...x))
        : draw(distribution(x, rules), uniformAt(rules.seed, position + i));
    tokens.push(token);
    if (token !== guesses[i]) break;
  }
  return tokens;
}

/** The uniform number of a draw, 32 bits in [0, 1): the first word of pcg4d(seed, position, 0). */
export function uniformAt(seed: number, position: number): number {
  const v = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0, position, 0].map(
    (word) => (Math.imul(word, 1664525) + 1013904223) >>> 0,
  );
  const mix = (to: number, a: number, b: number): void => {
    v[to] = (v[to]! + Math.imul(v[a]!, v[b]!)) >>> 0;
  };
  const mixAll = (): void => {
    mix(0, 1, 3);
    mix(1, 2, 0);
    mix(2, 0, 1);
    mix(3, 1, 2);
  };
  mixAll();
  v.forEach((word, i) => {
    v[i] = (word ^ (word >>> 16)) >>> 0;
  });
  mixAll();
  return v[0]! / 2 ** 32;
}

const sum = (values: Float64Array): number => values.reduce((a, b) => a + b, 0);
