/** @file How likely a model thinks the tokens of a prompt. Loaded when somebody asks. Knows no GPU, no text and no template. */
import type { RowLogprob, Session } from '../runtime/generate/session.ts';
import type { ScoredToken, ScoreOptions } from './types.ts';

/** Every token but the first is asked about in the row before it. */
export async function scoreTokens(
  session: Session,
  ids: readonly number[],
  { logprobs, signal }: ScoreOptions,
): Promise<ScoredToken[]> {
  const rows = ids.slice(1).map((token, position) => ({ position, token }));
  // The first token alone: that there is nothing to say is found out with the same checks.
  const reading = {
    name: logprobs ? ('likeliest' as const) : ('logprob' as const),
    rows: rows.length > 0 ? rows : [{ position: 0, token: ids[0] ?? 0 }],
    numTop: logprobs ?? 0,
  };
  const { values } = await session.read(ids, reading, signal);
  return ids.map((id, i) => {
    if (i === 0) return { id, logprob: undefined, rank: undefined };
    const { logprob, rank, top } = values[i - 1] as RowLogprob;
    return { id, logprob, rank, ...(logprobs !== undefined && { topLogprobs: top }) };
  });
}
