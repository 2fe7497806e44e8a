/**
 * @file Speculative decoding: a proposer guesses the next tokens (drafts), and one step of the model verifies them together,
 * a row each. It must not know kernels or the families.
 *
 * Why the answer stays the same. Speculative sampling (Leviathan et al., "Fast Inference from Transformers via Speculative
 * Decoding", 2023) accepts a draft x drawn from q with probability min(1, p(x) / q(x)), and else draws from what is left of
 * p. Drafts here are single tokens, q(x) = 1: x is accepted with probability p(x), and else another token is drawn from p
 * without x. Drawing from p and accepting x if it is what was drawn does exactly that. So every row samples as an ordinary
 * step would, with its own position's random number; the longest run of drafts that equal what was sampled is accepted, and
 * the first sample that differs is the step's last token. As draws depend on seed and position alone, the tokens are those of
 * decoding without speculation, up to the rounding of different kernels - whatever a draft was made from.
 *
 * Going back is bookkeeping: what the rows behind a wrong draft wrote to the caches stands behind the last valid position and
 * is overwritten before it is read.
 */
import type { Sampled } from './decode.ts';
import { createLookup } from './lookup.ts';
import { MAX_DRAFTS } from './recording.ts';
import type { Picked, ProgramName, Steps } from './steps.ts';
import type { Speculation } from './types.ts';

/** Guesses tokens during one generation. */
export interface Proposer {
  /** Told after each submitted chunk of the prompt: rows of the ids from `position` on. */
  chunk(ids: readonly number[], position: number, rows: number): void;
  /** Takes the tokens of the last step. The ids of the next step's rows, as far as the host knows them, and its number of drafts. */
  propose(tokens: readonly number[], maxDrafts: number): { ids: readonly number[]; numDrafts: number };
}

export const createProposer = (speculate: Speculation, steps: Steps): Proposer =>
  speculate === 'mtp' ? createModuleProposer(steps) : createLookupProposer();

/** Drafts from where prompt and answer said the same before. */
function createLookupProposer(): Proposer {
  const lookup = createLookup();
  return {
    chunk(ids, position, rows) {
      // Ids that were in the cache come with the first chunk.
      for (let i = lookup.length; i < position + rows; i++) lookup.push(ids[i]!);
    },
    propose(tokens, maxDrafts) {
      tokens.forEach(lookup.push);
      const drafts = lookup.propose(Math.min(maxDrafts, MAX_DRAFTS.lookup));
      return { ids: [tokens.at(-1)!, ...drafts], numDrafts: drafts.length };
    },
  };
}

/**
 * Drafts by the checkpoint's module, whose row for a position needs the model's hidden state there and the token that
 * follows: so it runs behind each step, over the rows whose next token is known by then. The draft never leaves the GPU.
 */
function createModuleProposer(steps: Steps): Proposer {
  const { cache } = steps;
  /** The tokens that follow the rows that the module has yet to run over. */
  let next: number[] = [];
  const run = (part: 'all' | 'body'): void => {
    const rows = next.length;
    const name: ProgramName = rows <= 1 + MAX_DRAFTS.mtp ? 'draft' : 'draftPrefill';
    steps.run(name, { ids: next, rows, position: cache.numDrafted }, part);
    cache.numDrafted += rows;
    next = [];
  };
  return {
    chunk(ids, position, rows) {
      next = ids.slice(position + 1, position + rows + 1);
      // What follows the whole prompt is not known yet.
      if (next.length === rows) run('body');
    },
    propose(tokens, maxDrafts) {
      next.push(...tokens);
      const ids = tokens.slice(-1);
      if (maxDrafts < 1) return { ids, numDrafts: 0 };
      run('all');
      return { ids, numDrafts: MAX_DRAFTS.mtp };
    },
  };
}

/** Tokens behind a prompt of `promptLength` whose first is `first`, until `maxTokens`. */
export async function* speculate(
  steps: Steps,
  proposer: Proposer,
  promptLength: number,
  first: Promise<Picked>,
  maxTokens: number,
): AsyncGenerator<Sampled, void> {
  let { tokens, chances } = await first;
  yield { tokens, chances, numDrafts: 0 };
  for (let numSampled = 1; numSampled < maxTokens; numSampled += tokens.length) {
    const last = tokens.at(-1)!;
    // All drafts right and one token more may be as many as are left; so no row stands behind the end of the cache either.
    const { ids, numDrafts } = proposer.propose(tokens, maxTokens - numSampled - 1);
    const position = promptLength + numSampled - 1;
    const name = numDrafts > 0 ? 'verify' : steps.single;
    ({ tokens, chances } = await steps.sample(name, { ids, rows: 1 + numDrafts, position }));
    steps.cache.ids.push(last, ...tokens.slice(0, -1));
    yield { tokens, chances, numDrafts };
  }
}
