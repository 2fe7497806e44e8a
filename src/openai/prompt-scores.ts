/** @file What completions tell of the tokens of a prompt: `logprobs` of an echoed one, and vLLM's `prompt_logprobs`. */
import type { Model, ScoredToken } from '../chat/types.ts';
import type { CompletionLogprobs, PromptLogprobs } from './types.ts';

/** In the place of a probability of 0, whose logarithm JSON cannot write. The same as OpenAI's. */
const LEAST_LOGPROB = -9999;

const written = (logprob: number): number => Math.max(logprob, LEAST_LOGPROB);

/**
 * Of every token of an echoed prompt: its text, its log-probability, that of the `count` likeliest and its own, and where it begins in the
 * text. Nothing is before the first, which has null: the types of the OpenAI API do not say that.
 */
export function echoLogprobs(
  { tokenizer }: Model,
  scored: readonly ScoredToken[],
  count: number,
  echo: string,
): CompletionLogprobs {
  const found = {
    tokens: [] as string[],
    token_logprobs: [] as (number | null)[],
    top_logprobs: [] as (Record<string, number> | null)[],
    text_offset: [] as number[],
  };
  const stream = tokenizer.createStream();
  let offset = 0;
  for (const { id, logprob, topLogprobs = [] } of scored) {
    const text = tokenizer.decode([id]);
    found.tokens.push(text);
    found.text_offset.push(offset);
    // A token that was put around the prompt is not in its text, and one that ends within a character adds none yet.
    const piece = stream.push(id);
    if (echo.startsWith(piece, offset)) offset += piece.length;
    if (logprob === undefined) {
      found.token_logprobs.push(null);
      found.top_logprobs.push(null);
      continue;
    }
    found.token_logprobs.push(written(logprob));
    // Of several tokens with the same text the likeliest comes first, and is kept.
    const top = topLogprobs.slice(0, count).map((other) => [tokenizer.decode([other.id]), other.logprob]);
    const own: [string, number] = [text, written(logprob)];
    found.top_logprobs.push(Object.fromEntries([own, ...top.toReversed()]));
  }
  return found as CompletionLogprobs;
}

/** The same by token ids, with the place of each among all tokens. */
export function promptLogprobs(
  { tokenizer }: Model,
  scored: readonly ScoredToken[],
  count: number,
): PromptLogprobs {
  return scored.map(({ id, logprob, rank, topLogprobs = [] }) => {
    if (logprob === undefined || rank === undefined) return null;
    const all = [
      { id, logprob, rank },
      ...topLogprobs.slice(0, count).map((top, i) => ({ ...top, rank: i + 1 })),
    ];
    return Object.fromEntries(
      all.map((of) => [
        String(of.id),
        { logprob: written(of.logprob), rank: of.rank, decoded_token: tokenizer.decode([of.id]) },
      ]),
    );
  });
}
