/** @file What transformers answered with the real weights in float32, greedily (bench/real/references). */
import { readFileSync } from 'node:fs';

export interface Reference {
  readonly eos_token_ids: readonly number[];
  readonly cases: readonly {
    readonly name: string;
    readonly prompt_ids: readonly number[];
    readonly output_ids: readonly number[];
    /** Of each token of the output: how far the next likeliest logit was. */
    readonly margins: readonly number[];
  }[];
  readonly nll: { readonly ids: readonly number[]; readonly mean_nll: number };
}

export const readReference = (name: string): Reference =>
  JSON.parse(readFileSync(new URL(`references/${name}.json`, import.meta.url), 'utf8')) as Reference;
