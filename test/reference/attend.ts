/** @file The plain definition of causal grouped-query attention in f64, whole and in splits. */

export interface AttentionShape {
  rows: number;
  heads: number;
  kvHeads: number;
  kDim: number;
  vDim: number;
  /** Tokens in the cache before the rows. */
  position: number;
  scale: number;
  /** Positions that a row sees, its own included; all when left out. */
  window?: number | undefined;
}

export interface Attention {
  /** [rows, heads * vDim]. */
  out: Float64Array;
  /** sum_t p_t |v_t| for every value of out: what relative errors of the weights multiply. */
  magnitude: Float64Array;
  /** max_t scale * sum_i |q_i k_i| for every row and head: what relative errors of products add up to in a score. */
  scoreMagnitude: Float64Array;
}

/** q [rows, heads * kDim]; keys and values [position + rows, kvHeads * dim], row r sees the first position + r + 1, or the last `window` of them. */
export function attend(
  q: ArrayLike<number>,
  keys: ArrayLike<number>,
  values: ArrayLike<number>,
  shape: AttentionShape,
): Attention {
  const { rows, heads, vDim, position, window = Number.POSITIVE_INFINITY } = shape;
  const out = new Float64Array(rows * heads * vDim);
  const magnitude = new Float64Array(rows * heads * vDim);
  const scoreMagnitude = new Float64Array(rows * heads);
  for (let r = 0; r < rows; r++) {
    for (let h = 0; h < heads; h++) {
      const end = position + r + 1;
      const part = attendPart(q, keys, values, shape, r, h, Math.max(0, end - window), end);
      scoreMagnitude[r * heads + h] = part.scoreMagnitude;
      for (let d = 0; d < vDim; d++) {
        out[(r * heads + h) * vDim + d] = part.values[d]! / part.sum;
        magnitude[(r * heads + h) * vDim + d] = part.magnitudes[d]! / part.sum;
      }
    }
  }
  return { out, magnitude, scoreMagnitude };
}

export interface AttentionPart {
  /** sum_t e^(score_t - largest) values_t, and the same of |values_t|. */
  values: Float64Array;
  magnitudes: Float64Array;
  largest: number;
  sum: number;
  scoreMagnitude: number;
}

/** One head of one row over positions [begin, end). */
export function attendPart(
  q: ArrayLike<number>,
  keys: ArrayLike<number>,
  values: ArrayLike<number>,
  { heads, kvHeads, kDim, vDim, scale }: AttentionShape,
  row: number,
  head: number,
  begin: number,
  end: number,
): AttentionPart {
  const kvHead = Math.floor((head * kvHeads) / heads);
  const scores: number[] = [];
  let scoreMagnitude = 0;
  for (let t = begin; t < end; t++) {
    let score = 0;
    let terms = 0;
    for (let i = 0; i < kDim; i++) {
      const product = q[(row * heads + head) * kDim + i]! * keys[(t * kvHeads + kvHead) * kDim + i]!;
      score += product;
      terms += Math.abs(product);
    }
    scores.push(scale * score);
    scoreMagnitude = Math.max(scoreMagnitude, Math.abs(scale) * terms);
  }
  const largest = scores.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const part = {
    values: new Float64Array(vDim),
    magnitudes: new Float64Array(vDim),
    largest,
    sum: 0,
    scoreMagnitude,
  };
  scores.forEach((score, i) => {
    const weight = Math.exp(score - largest);
    part.sum += weight;
    for (let d = 0; d < vDim; d++) {
      const value = values[((begin + i) * kvHeads + kvHead) * vDim + d]!;
      part.values[d]! += weight * value;
      part.magnitudes[d]! += weight * Math.abs(value);
    }
  });
  return part;
}
