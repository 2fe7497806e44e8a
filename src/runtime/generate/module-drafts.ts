/**
 * @file The checkpoint's own module that drafts: it runs over the rows of each pass, as soon as the token after each row is known, and
 * leaves a guess for each sequence on the GPU. It must not know who runs, or why.
 */
import type { NumericalError } from '../../errors.ts';
import { SAMPLED_TOKEN } from '../../graph/batch.ts';
import { type Batch, rowsOf } from './batch.ts';
import type { Written } from './kv-pool.ts';
import type { Picked, Runner } from './runner.ts';
import type { Sequence } from './sequence.ts';

/** After a pass that computed what was known before: the module's rows need the token after each. */
export function draftKnown(runner: Runner, sequences: readonly Sequence[], batch: Batch, how: Written): void {
  const known = batch.map(({ position, tokens, ...rest }, s) => {
    const next = tokens.map((_, i) => sequences[s]!.ids[position + i + 1] ?? SAMPLED_TOKEN);
    return { ...rest, position, tokens: next };
  });
  const name = how === 'c' ? 'draftPrefill' : runner.programFor(rowsOf(batch), 'draft');
  runner.compute(name, known);
}

/** After a pass that sampled: over its rows, whose next tokens are known now, and a guess of the token after those. */
export function draftAfter(
  runner: Runner,
  { batch, isChunk }: { batch: Batch; isChunk: boolean },
  picked: readonly (Picked | NumericalError)[],
): void {
  const rows = batch.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const drafted = batch.map((part, i) => {
    const found = picked[i]!;
    const sampled = 'tokens' in found ? found.tokens : [0];
    const known = part.tokens.slice(1);
    const count = isChunk ? part.tokens.length : sampled.length;
    const next = isChunk ? [...known, sampled[0]!] : part.tokens.map((_, row) => sampled[row] ?? 0);
    return { ...part, tokens: next, counted: count };
  });
  const name = isChunk && rows > 1 ? 'draftPrefill' : runner.programFor(rows, 'draft');
  runner.draft(name, drafted);
}
