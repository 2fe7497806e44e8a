/** @file Twin of `tokenLogprob`: a plain softmax in float64. */

export interface TokenLogprob {
  logprob: number;
  /** From 1; of equal ones none is before the other. 0: the logits are no numbers. */
  rank: number;
}

export function tokenLogprob(logits: ArrayLike<number>, token: number): TokenLogprob {
  const all = Array.from(logits);
  const max = all.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  if (!Number.isFinite(max)) return { logprob: Number.NaN, rank: 0 };
  const sum = all.reduce((total, x) => total + Math.exp(x - max), 0);
  const own = all[token]!;
  return { logprob: own - max - Math.log(sum), rank: 1 + all.filter((x) => x > own).length };
}
