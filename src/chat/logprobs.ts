/** @file Which tokens the content of an answer came from, and how likely they were. Knows no GPU and no template. */
import type { Tokenizer } from '../../tokenizer/index.ts';
import type { Logprob } from '../runtime/generate/session.ts';
import type { IdLogprob } from '../runtime/types.ts';
import type { ChatDelta, TextLogprob, TokenLogprob } from './types.ts';

export interface Logprobs {
  /** Takes a token of the model; `fresh` are the deltas that it gave, `isReasoning` whether it belongs to the thinking. */
  add(id: number, known: Logprob, fresh: readonly ChatDelta[], isReasoning: boolean): void;
  /** Takes the last deltas, which came after the last token. */
  end(fresh: readonly ChatDelta[]): void;
}

/** Adds `logprobs` to each delta with content: those of all tokens since the delta before. */
export function createLogprobs(tokenizer: Tokenizer): Logprobs {
  const decoder = new TextDecoder();
  let held: TokenLogprob[] = [];

  function withText({ id, logprob }: IdLogprob): TextLogprob {
    const bytes = tokenizer.bytesOf(id) ?? new TextEncoder().encode(tokenizer.idToToken(id) ?? '');
    return { id, logprob, text: decoder.decode(bytes), bytes: [...bytes] };
  }

  function give(fresh: readonly ChatDelta[]): void {
    for (const delta of fresh) {
      const { content } = delta;
      if (content !== undefined) {
        // Line breaks after the thinking are layout.
        while (held[0]?.text.trim() === '' && !content.startsWith(held[0].text)) held.shift();
        if (held.length > 0) delta.logprobs = held;
      }
      held = [];
    }
  }

  return {
    add(id, { logprob, top }, fresh, isReasoning) {
      // Control tokens have no text in the content.
      if (!tokenizer.specialIds.has(id)) held.push({ ...withText({ id, logprob }), top: top.map(withText) });
      give(fresh);
      if (isReasoning) held = [];
    },
    end: give,
  };
}
