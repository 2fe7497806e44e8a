/** @file The plain definition of `prepareLatent` in f64, and of latent attention in its expanded form. */
import { rotateHead } from './rope.ts';

export interface LatentShape {
  rows: number;
  heads: number;
  nope: number;
  rope: number;
  v: number;
  rank: number;
  eps: number;
  pairing: 'half' | 'interleaved';
}

export interface LatentInputs {
  /** [rows, heads, nope + rope] */
  q: ArrayLike<number>;
  /** [rows, rank + rope] */
  latent: ArrayLike<number>;
  /** [rows, rope]: cosines, then sines. */
  angles: ArrayLike<number>;
  /** [rank] */
  norm: ArrayLike<number>;
  /** [heads * (nope + v), rank] */
  weight: ArrayLike<number>;
}

const slice = (x: ArrayLike<number>, begin: number, length: number): number[] =>
  Array.from({ length }, (_, i) => x[begin + i]!);

const dot = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, value, i) => sum + value * b[i]!, 0);

/** What the cache holds of a row: the normalised latent, and the rotated key that all heads share. */
function cacheRow(inputs: LatentInputs, { rank, rope, eps, pairing }: LatentShape, row: number) {
  const x = slice(inputs.latent, row * (rank + rope), rank);
  const scale = 1 / Math.sqrt(dot(x, x) / rank + eps);
  const angles = slice(inputs.angles, row * rope, rope);
  return {
    latent: x.map((value, c) => value * scale * inputs.norm[c]!),
    key: rotateHead(slice(inputs.latent, row * (rank + rope) + rank, rope), angles, pairing),
  };
}

/** A head of a row of q: the part that meets the latent, and the rotated part. */
function queryHead(
  inputs: LatentInputs,
  { heads, nope, rope, pairing }: LatentShape,
  row: number,
  head: number,
) {
  const begin = (row * heads + head) * (nope + rope);
  const angles = slice(inputs.angles, row * rope, rope);
  return {
    nope: slice(inputs.q, begin, nope),
    rotated: rotateHead(slice(inputs.q, begin + nope, rope), angles, pairing),
  };
}

/** out [rows, heads, rank + rope] with sum_d |q_d w_d| (or the largest value that is rotated) for each; cache [rows, rank + rope]. */
export function prepareLatent(
  inputs: LatentInputs,
  shape: LatentShape,
): { out: number[]; magnitude: number[]; cache: number[] } {
  const { rows, heads, nope, v, rank } = shape;
  const out: number[] = [];
  const magnitude: number[] = [];
  const cache: number[] = [];
  for (let r = 0; r < rows; r++) {
    for (let h = 0; h < heads; h++) {
      const q = queryHead(inputs, shape, r, h);
      for (let c = 0; c < rank; c++) {
        let sum = 0;
        let terms = 0;
        for (let d = 0; d < nope; d++) {
          const product = q.nope[d]! * inputs.weight[(h * (nope + v) + d) * rank + c]!;
          sum += product;
          terms += Math.abs(product);
        }
        out.push(sum);
        magnitude.push(terms);
      }
      const largest = Math.max(...q.rotated.map(Math.abs));
      for (const value of q.rotated) {
        out.push(value);
        magnitude.push(largest);
      }
    }
    const { latent, key } = cacheRow(inputs, shape, r);
    cache.push(...latent, ...key);
  }
  return { out, magnitude, cache };
}

/**
 * Causal attention of the rows over themselves with keys and values of every head written out: k = [W_k c | key], v = W_v c.
 * Gives [rows, heads * v].
 */
export function expandedAttention(
  inputs: LatentInputs,
  shape: LatentShape,
  attentionScale: number,
): number[] {
  const { rows, heads, nope, v, rank } = shape;
  const positions = Array.from({ length: rows }, (_, r) => cacheRow(inputs, shape, r));
  const out: number[] = [];
  for (let r = 0; r < rows; r++) {
    for (let h = 0; h < heads; h++) {
      const weightRow = (i: number) => slice(inputs.weight, (h * (nope + v) + i) * rank, rank);
      const up = (latent: number[], begin: number, count: number): number[] =>
        Array.from({ length: count }, (_, i) => dot(weightRow(begin + i), latent));
      const q = queryHead(inputs, shape, r, h);
      const seen = positions.slice(0, r + 1);
      const scores = seen.map(
        ({ latent, key }) => attentionScale * (dot(q.nope, up(latent, 0, nope)) + dot(q.rotated, key)),
      );
      const largest = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - largest));
      const total = weights.reduce((a, b) => a + b, 0);
      const values = seen.map(({ latent }) => up(latent, nope, v));
      for (let j = 0; j < v; j++) {
        out.push(weights.reduce((sum, weight, t) => sum + (weight / total) * values[t]![j]!, 0));
      }
    }
  }
  return out;
}
