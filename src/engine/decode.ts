/** @file Decoding one token a step, several steps in flight: each reads on the GPU what the one before has sampled. */
import type { Steps } from './steps.ts';

/** What a step gave. */
export interface Sampled {
  readonly tokens: readonly number[];
  /** Guesses that it verified; all tokens but the last were guessed. */
  readonly numDrafts: number;
}

/** Tokens behind a prompt of `promptLength` whose first is `first`, until `maxTokens`. */
export async function* decode(
  steps: Steps,
  promptLength: number,
  first: Promise<number[]>,
  maxTokens: number,
): AsyncGenerator<Sampled, void> {
  const pending = [first];
  const sampled: number[] = [];
  let numSubmitted = 1;
  try {
    while (sampled.length < maxTokens) {
      for (; pending.length < steps.depth && numSubmitted < maxTokens; numSubmitted++) {
        pending.push(steps.sample('decode', { rows: 1, position: promptLength + numSubmitted - 1 }));
      }
      const tokens = await pending.shift()!;
      sampled.push(...tokens);
      yield { tokens, numDrafts: 0 };
    }
  } finally {
    await Promise.allSettled(pending);
    // A token is in the cache once the step that reads it was submitted: every step but the first reads one.
    steps.cache.ids.push(...sampled.slice(0, numSubmitted - 1));
  }
}
