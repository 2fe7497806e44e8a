/**
 * @file Speculative decoding: guesses of the next tokens (drafts), which one pass of the model verifies together, a row each. It
 * must not know kernels or the families.
 *
 * Why the answer stays the same. Speculative sampling (Leviathan et al., "Fast Inference from Transformers via Speculative
 * Decoding", 2023) accepts a draft x drawn from q with probability min(1, p(x) / q(x)), and else draws from what is left of
 * p. Drafts here are single tokens, q(x) = 1: x is accepted with probability p(x), and else another token is drawn from p
 * without x. Drawing from p and accepting x if it is what was drawn does exactly that. So every row samples as an ordinary
 * pass would, with its own position's random number; the longest run of drafts that equal what was sampled is accepted, and
 * the first sample that differs is the last token of the pass. As draws depend on seed and position alone, and a row gives the same
 * bits in any pass of few rows, the tokens are those of decoding without speculation, whatever a draft was made from.
 *
 * Going back is bookkeeping: what the rows after a wrong draft wrote to the caches stands after the last valid position and
 * is overwritten before it is read.
 */
import { DRAFTED_TOKEN } from '../../graph/batch.ts';
import { MAX_DRAFTS } from '../program/plans.ts';
import type { Speculation } from '../types.ts';
import { createLookup } from './lookup.ts';

/** Guesses tokens of one sequence. */
export interface Proposer {
  /** Tokens that follow `ids`, all that are known: up to `count`, or none. */
  propose(ids: readonly number[], count: number): readonly number[];
}

/** @param hasDraft whether the module has left a guess for the sequence on the GPU */
export const createProposer = (speculate: Speculation, hasDraft: () => boolean): Proposer =>
  speculate === 'mtp'
    ? { propose: (_, count) => (count > 0 && hasDraft() ? [DRAFTED_TOKEN] : []) }
    : createLookupProposer();

/** Drafts from where prompt and answer said the same before. */
function createLookupProposer(): Proposer {
  const lookup = createLookup();
  return {
    propose(ids, count) {
      for (let i = lookup.length; i < ids.length; i++) lookup.push(ids[i]!);
      return lookup.propose(Math.min(count, MAX_DRAFTS.lookup));
    },
  };
}
