import { expect, test } from 'vitest';
import {
  distribution,
  draw,
  penalise,
  type SampleRules,
  sampleRows,
  uniformAt,
} from '../reference/sample.ts';
import { freshSeed, randomNormal, seededRandom } from './harness.ts';
import { OFF, probabilities, runSampler, type SampleInput, type SampleOutcome } from './sampler.ts';

/** How close to its threshold a mass may be before f32 weights decide either way, as a share of the whole. */
const SLACK = 1e-6;

const rulesWith = (rules: Partial<SampleRules>, seed = 0) => ({ ...OFF, ...rules, seed });
const positions = (count: number) => Array.from({ length: count }, (_, position) => position);

/** Everything a sample must get right, given the penalised logits that the GPU itself computed. */
function expectRight({ scaled, results }: SampleOutcome, input: SampleInput, label: string): void {
  const { params } = input;
  const loose = distribution(scaled, params, SLACK);
  const tight = distribution(scaled, params, -SLACK);
  const model = distribution(input.logits, OFF);
  for (const result of results) {
    const probs = probabilities(scaled, result, params);
    const wrong = [...probs.keys()].filter(
      (id) => (tight[id]! > 0 && probs[id] === 0) || (probs[id]! > 0 && loose[id] === 0),
    );
    expect(wrong, `${label}: kept or dropped wrongly`).toEqual([]);
    const total = probs.reduce((a, b) => a + b, 0);
    // Weights are within (3 + 2 |exponent|) ulp by WGSL's rules for exp; those that count have small exponents.
    expect(Math.abs(total - 1), `${label}: normalizer`).toBeLessThan(2e-6);
    expect(probs[result.token], `${label}: token ${result.token} has a probability`).toBeGreaterThan(0);
    const before = probs.subarray(0, result.token).reduce((a, b) => a + b, 0);
    const uniform = uniformAt(params.seed, result.position);
    expect(before, `${label}: token ${result.token} for ${uniform}`).toBeLessThan(uniform + 4e-6);
    expect(before + probs[result.token]!, `${label}: token ${result.token} for ${uniform}`).toBeGreaterThan(
      uniform - 4e-6,
    );
    // One ulp of an exponent of up to 64, and the normalizer's error.
    expect(Math.abs(result.logprob - Math.log(probs[result.token]!)), `${label}: logprob`).toBeLessThan(1e-5);
    const modelLogprob = Math.log(model[result.token]!);
    expect(Math.abs(result.modelLogprob - modelLogprob), `${label}: model logprob`).toBeLessThan(1e-5);
  }
}

const RULES: Partial<SampleRules>[] = [
  {},
  { temperature: 0.6, topK: 20, topP: 0.95 },
  { temperature: 0.7, topK: 20, topP: 0.8, repetitionPenalty: 1.05 },
  { topK: 1 },
  { topK: 300 },
  { topP: 0.9, temperature: 1.5 },
  { topP: 0 },
  { topP: 0.999, minP: 0.01 },
  { minP: 0.1 },
  { temperature: 100, topP: 0.5, presencePenalty: 1.5, frequencyPenalty: -0.2 },
  { temperature: 0.02, topK: 100, topP: 0.3, minP: 0.5 },
];

test.each([1, 31, 257, 5003])(
  'samples from a vocabulary of %i as the reference does, by any rules',
  async (vocab) => {
    const seed = freshSeed();
    const random = seededRandom(seed);
    const anyId = (): number => Math.floor(random() * vocab);
    for (const rules of RULES) {
      const label = `vocab ${vocab}, ${JSON.stringify(rules)}, seed ${seed}`;
      const promptIds = Array.from({ length: 20 }, anyId);
      const outputIds = Array.from({ length: 20 }, anyId);
      // Some logits are equal, some are banned.
      const logits = randomNormal(random, vocab, 4).map((x) => (random() < 0.2 ? Math.round(x) : x));
      for (let i = 0; i < vocab / 8; i++) if (vocab > 1) logits[anyId()] = Number.NEGATIVE_INFINITY;
      logits[anyId()] = 2;
      const bias = rules.topK === 20 ? randomNormal(random, vocab) : undefined;
      const input: SampleInput = {
        logits,
        params: rulesWith(rules, Math.floor(random() * 2 ** 53)),
        promptIds,
        outputIds,
        ...(bias && { bias }),
      };
      const outcome = await runSampler(input, [Math.floor(random() * 1e5)]);
      const wanted = penalise(logits, input.params, promptIds, outputIds, bias);
      // A few roundings of numbers of about this size.
      const isOff = (x: number, id: number): boolean =>
        x !== outcome.scaled[id] && !(Math.abs(outcome.scaled[id]! - x) < 1e-6 * (Math.abs(x) + 8));
      expect(wanted.findIndex(isOff), `${label}: first wrong penalised logit`).toBe(-1);
      expectRight(outcome, input, label);
    }
  },
);

test('samples from the vocabulary of Qwen3', async () => {
  const seed = freshSeed();
  const random = seededRandom(seed);
  const vocab = 151936;
  const flat = randomNormal(random, vocab, 2.5);
  const peaked = flat.map((x, id) => (id % 5000 === 17 ? x + 14 : x));
  for (const [logits, rules] of [
    [peaked, { temperature: 0.6, topK: 20, topP: 0.95 }],
    [flat, { topP: 0.9 }],
    [flat, { topK: 5000, topP: 0.5 }],
    [flat, {}],
  ] as const) {
    const input = { logits, params: rulesWith(rules, seed) };
    expectRight(await runSampler(input), input, `${JSON.stringify(rules)}, seed ${seed}`);
  }
});

test('greedy takes the likeliest token, the first of equals', async () => {
  const seed = freshSeed();
  const random = seededRandom(seed);
  for (const vocab of [1, 257, 5003]) {
    const logits = randomNormal(random, vocab);
    const [first, second] = [Math.floor(random() * vocab), Math.floor(random() * vocab)].sort(
      (a, b) => a - b,
    );
    logits[first!] = 9;
    logits[second!] = 9;
    // Cuts change nothing.
    const params = rulesWith({ temperature: 0, topK: 5, topP: 0.5, minP: 0.3 });
    const { results, token } = await runSampler({ logits, params });
    expect(results[0], `seed ${seed}`).toMatchObject({ isFinite: true, token: first, logprob: 0 });
    expect(token).toBe(first);
  }
});

test('of equal logits top-k keeps all and top-p the last ones', async () => {
  const logits = new Float32Array(5003).fill(0.5);
  const kept = async (rules: Partial<SampleRules>): Promise<number[]> => {
    const params = rulesWith(rules);
    const { scaled, results } = await runSampler({ logits, params });
    return [...probabilities(scaled, results[0]!, params).entries()].flatMap(([id, p]) =>
      p > 0 ? [id] : [],
    );
  };
  expect(await kept({ topK: 7 })).toHaveLength(5003);
  expect(await kept({ minP: 1 })).toHaveLength(5003);
  const half = await kept({ topP: 0.5 });
  expect(half).toEqual(Array.from({ length: 2502 }, (_, i) => 2501 + i));
});

test.each([
  ['NaN', Number.NaN],
  ['infinity', Number.POSITIVE_INFINITY],
])('%s among the logits is reported, and nothing is sampled', async (_, value) => {
  for (const [id, rules] of [
    [0, {}],
    [256, { topK: 5, topP: 0.9 }],
    [100, { temperature: 0 }],
  ] as const) {
    const logits = new Float32Array(257).fill(1);
    logits[id] = value;
    const { results, counts } = await runSampler({ logits, params: rulesWith(rules) });
    expect(results[0]).toMatchObject({ isFinite: false, position: 1 });
    expect(counts.every((count) => count === 0)).toBe(true);
  }
});

test('a banned token is never picked, and if all are banned that is reported', async () => {
  const logits = Float32Array.from({ length: 31 }, (_, id) => id);
  const ban = (isBanned: (id: number) => boolean) =>
    logits.map((_, id) => (isBanned(id) ? Number.NEGATIVE_INFINITY : 0));
  const params = rulesWith({});
  const { results } = await runSampler({ logits, params, bias: ban((id) => id !== 2) }, positions(8));
  expect(results.map(({ token }) => token)).toEqual(Array(8).fill(2));
  const greedy = { ...params, temperature: 0 };
  expect((await runSampler({ logits, params: greedy, bias: ban((id) => id === 30) })).token).toBe(29);
  for (const rules of [{}, { topK: 2, topP: 0.5 }, { temperature: 0 }]) {
    const none = await runSampler({ logits, params: rulesWith(rules), bias: ban(() => true) });
    expect(none.results[0]!.isFinite).toBe(false);
  }
});

test('what a mask does not allow is banned, whatever the penalties and the bias say', async () => {
  const random = seededRandom(freshSeed());
  for (const vocab of [31, 257, 4099]) {
    const logits = randomNormal(random, vocab, 3);
    const mask = Uint32Array.from({ length: Math.ceil(vocab / 32) }, () => 2 ** 32 * random());
    const isAllowed = (id: number): boolean => ((mask[id >>> 5]! >>> (id & 31)) & 1) === 1;
    const bias = randomNormal(random, vocab);
    const banned = bias.map((value, id) => (isAllowed(id) ? value : Number.NEGATIVE_INFINITY));
    for (const rules of [{}, { topK: 20, topP: 0.9, repetitionPenalty: 1.3 }, { temperature: 0 }]) {
      const input = { logits, params: rulesWith(rules), promptIds: [1, 2, 3], outputIds: [2] };
      const masked = await runSampler({ ...input, bias, mask }, positions(4));
      const wanted = await runSampler({ ...input, bias: banned }, positions(4));
      expect(masked.results.map(({ token }) => token)).toEqual(wanted.results.map(({ token }) => token));
      expect(masked.results.every(({ token }) => isAllowed(token))).toBe(true);
      expect(masked.scaled).toEqual(wanted.scaled);
    }
    const none = await runSampler({ logits, params: rulesWith({}), mask: mask.fill(0) });
    expect(none.results[0]!.isFinite).toBe(false);
  }
});

test('without penalties and bias the logits stay as they are, bit by bit', async () => {
  const logits = randomNormal(seededRandom(freshSeed()), 257, 10);
  logits[3] = -0;
  const { scaled } = await runSampler({
    logits,
    params: rulesWith({ temperature: 0.3, topK: 3 }),
    promptIds: [1, 2],
    outputIds: [2, 3],
  });
  expect(new Uint32Array(scaled.buffer)).toEqual(new Uint32Array(logits.buffer));
});

test('steps in flight count what the steps before them picked', async () => {
  // Each pick lowers its token by more than the first four differ.
  const logits = new Float32Array(31).fill(-100);
  logits.set([0.3, 0.1, 0.2, 0]);
  const params = rulesWith({ temperature: 0, frequencyPenalty: 1 });
  const { results, counts, token } = await runSampler({ logits, params, promptIds: [1] }, positions(6));
  expect(results.map((r) => r.token)).toEqual([0, 2, 1, 3, 0, 2]);
  expect(results.map((r) => r.position)).toEqual([1, 2, 3, 4, 5, 6]);
  expect([...counts.subarray(0, 5)]).toEqual([2, 0x8000_0001, 2, 1, 0]);
  expect(token).toBe(2);
});

test('the same seed and position give the same token, however the position is reached', async () => {
  const logits = new Float32Array(257);
  const params = rulesWith({}, 2 ** 40 + 3);
  const { results } = await runSampler({ logits, params }, positions(100));
  expect(results.map((r) => r.token)).toEqual(
    results.map((_, i) => draw(distribution(logits, OFF), uniformAt(2 ** 40 + 3, i + 1))),
  );
  const again = await runSampler({ logits, params }, [5]);
  expect(again.token).toEqual(results[5]!.token);
  // Behind the last of six rows.
  const last = { logits, params, guesses: [1, 2, 3, 4, 5] };
  expect((await runSampler(last, [0], { isLast: true, rounds: 1 })).token).toEqual(results[5]!.token);
  const other = await runSampler({ logits, params: { ...params, seed: 4 } }, positions(100));
  expect(other.results.map((r) => r.token)).not.toEqual(results.map((r) => r.token));
});

/** What `runSampler` needs to sample behind rows of random logits, some of them near a tie. */
function randomRows(random: () => number, numRows: number, rules: Partial<SampleRules>) {
  const vocab = 257;
  const rows = Array.from({ length: numRows }, () => randomNormal(random, vocab, 2));
  const anyIds = (): number[] => Array.from({ length: 9 }, () => Math.floor(random() * vocab));
  const params = rulesWith(rules, Math.floor(random() * 2 ** 53));
  return {
    vocab,
    rows,
    params,
    position: Math.floor(random() * 1e5),
    promptIds: anyIds(),
    outputIds: anyIds(),
  };
}

const flat = (rows: readonly Float32Array[]): number[] => rows.flatMap((row) => [...row]);

test.each([
  ['greedy', { temperature: 0 }],
  ['greedy with penalties', { temperature: 0, repetitionPenalty: 1.3, frequencyPenalty: 0.7 }],
  ['drawn', { temperature: 0.9, topK: 40, topP: 0.9, presencePenalty: 1, frequencyPenalty: 0.3 }],
])(
  'rows behind guesses sample what one after another would, up to the first wrong guess: %s',
  async (_, rules) => {
    const seed = freshSeed();
    const random = seededRandom(seed);
    for (const numRows of [1, 2, 5, 8]) {
      const { vocab, rows, params, position, promptIds, outputIds } = randomRows(random, numRows, rules);
      const counted = { params, promptIds };
      const alone: SampleOutcome[] = [];
      const tokens = (): number[] => alone.map((o) => o.token);
      for (const [row, logits] of rows.entries()) {
        const before = { outputIds: [...outputIds, ...tokens()] };
        alone.push(await runSampler({ ...counted, ...before, logits }, [position + row]));
      }
      for (const numRight of new Set([0, Math.floor(numRows / 2), numRows - 1])) {
        const label = `${numRight} of ${numRows - 1} guesses right, seed ${seed}`;
        // Right guesses behind the wrong one change nothing.
        const guesses = tokens().slice(0, -1);
        if (numRight < guesses.length) guesses[numRight] = (guesses[numRight]! + 1) % vocab;
        const input = { ...counted, outputIds, logits: flat(rows), guesses };
        const { results, counts, token } = await runSampler(input, [position]);
        const wanted = alone.slice(0, numRight + 1);
        expect(results.slice(0, numRight + 1), label).toEqual(wanted.map((o) => o.results[0]));
        expect(
          results.map((r) => r.isSkipped),
          label,
        ).toEqual(rows.map((_, row) => row > numRight));
        expect(counts, label).toEqual(wanted.at(-1)!.counts);
        expect(token, label).toBe(wanted.at(-1)!.token);
        if (params.temperature === 0) {
          const reference = sampleRows(rows, guesses, params, position + 1, promptIds, outputIds);
          expect(
            wanted.map((o) => o.token),
            label,
          ).toEqual(reference);
        }
      }
    }
  },
);

test("NaN behind a right guess is reported and ends the rows; behind a wrong one it is nobody's", async () => {
  const { vocab, rows, params } = randomRows(seededRandom(freshSeed()), 3, { temperature: 0 });
  rows[1]![5] = Number.NaN;
  const right = rows[0]!.indexOf(Math.max(...rows[0]!));
  const sampled = (guess: number) => runSampler({ logits: flat(rows), params, guesses: [guess, 0] });
  const reported = await sampled(right);
  expect(reported.results.map((r) => [r.isFinite, r.isSkipped])).toEqual([
    [true, false],
    [false, false],
    [true, true],
  ]);
  expect(reported.token).toBe(right);
  expect(reported.counts.reduce((a, b) => a + b, 0)).toBe(1);
  const unseen = await sampled((right + 1) % vocab);
  expect(unseen.results.map((r) => r.isFinite)).toEqual([true, true, true]);
  expect(unseen.token).toBe(right);
});

test('a draft is what would be sampled from its logits one position on, and is not counted', async () => {
  const seed = freshSeed();
  const random = seededRandom(seed);
  for (const rules of [{ temperature: 0 }, { temperature: 1.2, topP: 0.9, frequencyPenalty: 0.5 }]) {
    const { rows, params, position, outputIds } = randomRows(random, 1, rules);
    const input = { logits: rows[0]!, params, outputIds };
    // Behind the last of three rows.
    const draft = await runSampler({ ...input, guesses: [1, 2] }, [position - 2], { isDraft: true });
    const next = await runSampler(input, [position + 1]);
    expect(draft.results, `seed ${seed}`).toEqual(next.results);
    expect(draft.draft).toBe(next.token);
    expect(draft.counts.reduce((a, b) => a + b, 0)).toBe(outputIds.length);
  }
});

/** Chi-square of counts against what is expected, as standard deviations of a normal variable (Wilson and Hilferty). */
function chiSquareSigmas(counts: number[], expected: number[]): number {
  const chi = counts.reduce((sum, count, i) => sum + (count - expected[i]!) ** 2 / expected[i]!, 0);
  const freedom = counts.length - 1;
  return (Math.cbrt(chi / freedom) - 1 + 2 / (9 * freedom)) / Math.sqrt(2 / (9 * freedom));
}

test.each([
  ['everything', {}],
  ['what top-k leaves', { topK: 5 }],
  ['what top-p leaves', { temperature: 2, topP: 0.8 }],
])('draws %s as often as it is likely', async (_, rules: Partial<SampleRules>) => {
  const seed = freshSeed();
  const logits = randomNormal(seededRandom(seed), 31, 1);
  const params = rulesWith(rules, seed);
  const { results } = await runSampler({ logits, params }, positions(600));
  const probs = distribution(logits, params);
  // From the likeliest down, tokens share a class until it is expected at least eight times.
  const classes: number[][] = [[]];
  const expected = (ids: number[]): number => ids.reduce((sum, id) => sum + probs[id]! * results.length, 0);
  for (const id of [...probs.keys()].sort((a, b) => probs[b]! - probs[a]!)) {
    if (probs[id] === 0) continue;
    if (expected(classes.at(-1)!) >= 8) classes.push([]);
    classes.at(-1)!.push(id);
  }
  if (expected(classes.at(-1)!) < 8) classes.splice(-2, 2, classes.slice(-2).flat());
  const counts = classes.map((ids) => results.filter(({ token }) => ids.includes(token)).length);
  expect(counts.reduce((a, b) => a + b, 0)).toBe(results.length);
  // One run in three million is worse than five standard deviations.
  expect(chiSquareSigmas(counts, classes.map(expected)), `seed ${seed}`).toBeLessThan(5);
});
