/** @file Decoding one token a step, several steps in flight: each reads on the GPU what the one before has sampled. */
import type { Picked, Steps } from './steps.ts';

/** What a step gave. */
export interface Sampled extends Picked {
  /** Guesses that it verified; all tokens but the last were guessed. */
  readonly numDrafts: number;
}

/** Tokens behind a prompt of `promptLength` whose first is `first`, until `maxTokens`. `mask` is asked before each of them. */
export async function* decode(
  steps: Steps,
  promptLength: number,
  first: Promise<Picked>,
  maxTokens: number,
  mask?: () => Uint32Array | undefined,
): AsyncGenerator<Sampled, void> {
  const pending = [first];
  const sampled: number[] = [];
  let numSubmitted = 1;
  // What is allowed next is known when the token before was taken.
  const depth = mask ? 1 : steps.depth;
  try {
    while (sampled.length < maxTokens) {
      for (; pending.length < depth && numSubmitted < maxTokens; numSubmitted++) {
        const position = promptLength + numSubmitted - 1;
        if (mask) steps.writeMask(mask());
        pending.push(
          mask
            ? steps.sample(steps.single, { rows: 1, position, ids: [sampled.at(-1)!] })
            : steps.sample('decode', { rows: 1, position }),
        );
      }
      const { tokens, chances } = await pending.shift()!;
      sampled.push(...tokens);
      yield { tokens, chances, numDrafts: 0 };
    }
  } finally {
    await Promise.allSettled(pending);
    // A token is in the cache once the step that reads it was submitted: every step but the first reads one.
    steps.cache.ids.push(...sampled.slice(0, numSubmitted - 1));
  }
}
