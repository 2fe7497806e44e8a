import { expect, test } from 'vitest';
import { tokenLogprob as variants } from '../../kernels/sample/token-logprob.ts';
import { sessionTensor } from '../../src/graph/graph.ts';
import { SAID_WORDS, tokenLogprob } from '../../src/graph/ops/token-logprob.ts';
import { tokenLogprob as reference, type TokenLogprob } from '../reference/token-logprob.ts';
import { freshSeed, randomNormal, runVariants, seededRandom } from './harness.ts';

/** What each row says of its token, by variant and tier. */
async function run(
  logits: Float32Array,
  tokens: readonly number[],
): Promise<{ label: string; found: TokenLogprob[] }[]> {
  const rows = tokens.length;
  const outcomes = await runVariants(variants, {
    record: (graph) =>
      tokenLogprob(sessionTensor(graph, 'logits', [rows, logits.length / rows], 'f32', { kind: 'carry' })),
    data: { logits },
    batch: { rows, tokens },
  });
  return outcomes.map(({ label, outputs }) => {
    const words = outputs.said as Uint32Array;
    const values = new Float32Array(words.buffer, words.byteOffset, words.length);
    const found = tokens.map((_, r) => {
      const [own, top, sum] = values.subarray(SAID_WORDS * r, SAID_WORDS * r + 3) as unknown as number[];
      const rank = words[SAID_WORDS * r + 3]!;
      return { logprob: rank === 0 ? Number.NaN : own! - top! - Math.log(sum!), rank };
    });
    return { label, found };
  });
}

test.each([
  [1, 1],
  [7, 3],
  [255, 2],
  [1024, 20],
  [2049, 3],
  [151_936, 3],
])('tells the softmax of a vocabulary of %i at one token of each of %i rows', async (vocab, rows) => {
  const seed = freshSeed();
  const random = seededRandom(seed);
  for (const spread of [0, 1, 30]) {
    // Some logits are equal, and some tokens cannot come.
    const logits = randomNormal(random, rows * vocab, spread).map((x) =>
      random() < 0.1 ? Number.NEGATIVE_INFINITY : random() < 0.3 ? Math.round(x) : x,
    );
    const tokens = Array.from({ length: rows }, (_, r) =>
      r === 0 ? vocab - 1 : Math.floor(random() * vocab),
    );
    for (const { label, found } of await run(logits, tokens)) {
      for (const [r, { logprob, rank }] of found.entries()) {
        const wanted = reference(logits.subarray(r * vocab, (r + 1) * vocab), tokens[r]!);
        const about = `${label}, row ${r}, spread ${spread}, seed ${seed}`;
        expect(rank, about).toBe(wanted.rank);
        if (Number.isFinite(wanted.logprob)) {
          // The exponentials of f32, whose arguments are rounded at their own size.
          expect(Math.abs(logprob - wanted.logprob), about).toBeLessThan(2e-6 * (1 + spread));
        } else {
          expect(logprob, about).toBe(wanted.logprob);
        }
      }
    }
  }
});

test('a row of which a logit is no number, or none is possible, says so, and others are none the worse', async () => {
  const bad = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  const logits = new Float32Array(4 * 600);
  bad.forEach((value, r) => {
    if (value === Number.NEGATIVE_INFINITY) logits.fill(value, r * 600, (r + 1) * 600);
    else logits[r * 600 + 599] = value;
  });
  for (const { label, found } of await run(logits, [0, 3, 5, 7])) {
    expect(
      found.map(({ rank }) => rank),
      label,
    ).toEqual([0, 0, 0, 1]);
    expect(found[3]!.logprob).toBeCloseTo(-Math.log(600), 6);
  }
});
