/** @file Byte pair encoding as a textbook has it: on strings, by looking for the best rule again and again. The definition of right. */

/** The tokens of a word written in the byte alphabet. `merges` has the best rule first. */
export function textbookBpe(word: string, merges: readonly (readonly [string, string])[]): string[] {
  const rankOf = new Map(merges.map(([left, right], rank) => [`${left} ${right}`, rank]));
  let tokens = Array.from(word);
  for (;;) {
    let best = -1;
    let bestRank = Number.POSITIVE_INFINITY;
    for (let i = 0; i + 1 < tokens.length; i++) {
      const rank = rankOf.get(`${tokens[i]} ${tokens[i + 1]}`) ?? Number.POSITIVE_INFINITY;
      if (rank < bestRank) [best, bestRank] = [i, rank];
    }
    if (best < 0) return tokens;
    tokens = [...tokens.slice(0, best), `${tokens[best]}${tokens[best + 1]}`, ...tokens.slice(best + 2)];
  }
}
