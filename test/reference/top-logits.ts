/** @file Twin of `topLogits`: a plain sort. */

/** The `count` largest finite logits with their ids: the largest first, of equal ones the lowest id. */
export function topLogits(logits: ArrayLike<number>, count: number): { id: number; logit: number }[] {
  return Array.from(logits, (logit, id) => ({ id, logit }))
    .filter(({ logit }) => Number.isFinite(logit))
    .sort((a, b) => b.logit - a.logit || a.id - b.id)
    .slice(0, count);
}
