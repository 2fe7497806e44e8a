/** @file Sampling for several sequences in one batch: each gets, bit for bit, what it gets alone. */
import { expect, test } from 'vitest';
import { sampleRows } from '../reference/sample.ts';
import { freshSeed, randomNormal, seededRandom } from './harness.ts';
import { OFF, type Place, runSampler, runSamplers, type SampleInput, type SampleOutcome } from './sampler.ts';

const RULES = [
  {},
  { temperature: 0 },
  { temperature: 0.6, topK: 20, topP: 0.95, repetitionPenalty: 1.1 },
  { temperature: 0, repetitionPenalty: 1.3, frequencyPenalty: 0.7 },
  { temperature: 1.5, minP: 0.05, presencePenalty: 0.5 },
  { topP: 0.8 },
  { topK: 3, frequencyPenalty: -0.1 },
];
const SLOTS = [5, 0, 7, 2, 6, 1, 3];

/** A sequence with rules, and some with a bias or a mask of its own, and its place. */
function draw(
  random: () => number,
  vocab: number,
  i: number,
  numRows = 1,
): { input: SampleInput; place: Place } {
  const anyIds = (): number[] => Array.from({ length: 9 }, () => Math.floor(random() * vocab));
  return {
    input: {
      logits: randomNormal(random, vocab * numRows, 2),
      params: { ...OFF, ...RULES[i]!, seed: Math.floor(random() * 2 ** 53) },
      promptIds: anyIds(),
      outputIds: anyIds(),
      ...(i % 3 === 1 && { bias: randomNormal(random, vocab) }),
      ...(i % 3 === 2 && {
        mask: Uint32Array.from({ length: Math.ceil(vocab / 32) }, () => 2 ** 32 * random()),
      }),
    },
    place: { slot: SLOTS[i]!, position: Math.floor(random() * 1e5) },
  };
}

test.each([31, 257, 5003])(
  'each sequence samples from a vocabulary of %i by its own rules, as it does alone',
  async (vocab) => {
    const seed = freshSeed();
    const random = seededRandom(seed);
    const drawn = RULES.map((_, i) => draw(random, vocab, i));
    const inputs = drawn.map(({ input }) => input);
    // Three passes in flight: later ones count what earlier ones sampled.
    const passes = [0, 1, 2].map((pass) =>
      drawn.map(({ place }) => ({ ...place, position: place.position + pass })),
    );
    const alone: SampleOutcome[] = [];
    for (const { input, place } of drawn) {
      alone.push(
        await runSampler(
          input,
          [0, 1, 2].map((pass) => place.position + pass),
        ),
      );
    }
    for (const options of [{}, { recorded: 16 }, { isLast: true }]) {
      const together = await runSamplers(inputs, passes, options);
      together.forEach((found, i) => {
        const label = `${JSON.stringify(options)}, sequence ${i}, seed ${seed}`;
        const { draft: _, ...wanted } = alone[i]!;
        expect(found, label).toMatchObject(wanted);
      });
    }
  },
);

test('each sequence goes on to its own first wrong guess, as it does alone', async () => {
  const seed = freshSeed();
  const random = seededRandom(seed);
  const vocab = 257;
  // How many rows each has, and how many of their guesses are right.
  const lengths = [4, 1, 6, 3, 2, 5, 1];
  const right = [3, 0, 2, 0, 1, 2, 0];
  const drawn = lengths.map((numRows, i) => draw(random, vocab, i, numRows));
  const inputs: SampleInput[] = [];
  const alone: SampleOutcome[] = [];
  for (const [i, { input, place }] of drawn.entries()) {
    const guesses: number[] = [];
    for (let row = 0; row < lengths[i]!; row++) {
      const logits = Array.from(input.logits).slice(row * vocab, (row + 1) * vocab);
      const before = { outputIds: [...input.outputIds!, ...guesses] };
      guesses.push((await runSampler({ ...input, ...before, logits }, [place.position + row])).token);
    }
    guesses.pop();
    if (right[i]! < guesses.length) guesses[right[i]!] = (guesses[right[i]!]! + 1) % vocab;
    inputs.push({ ...input, guesses });
    alone.push(await runSampler({ ...input, guesses }, [place.position], { rounds: 6 }));
  }
  const places = drawn.map(({ place }) => place);
  const together = await runSamplers(inputs, [places], { recorded: 32 });
  together.forEach((found, i) => {
    const label = `sequence ${i}, seed ${seed}`;
    const { scaled: _, draft: __, ...wanted } = alone[i]!;
    expect(
      found.results.map((r) => r.isSkipped),
      label,
    ).toEqual(found.results.map((__, row) => row > right[i]!));
    expect(found.counts, label).toEqual(wanted.counts);
    expect(found.token, label).toBe(wanted.token);
    const told = right[i]! + 1;
    expect(found.results.slice(0, told), label).toEqual(wanted.results.slice(0, told));
    const { logits, guesses, params, promptIds, outputIds, bias, mask } = inputs[i]!;
    if (params.temperature > 0 || bias || mask) return;
    const rows = lengths.map((__, row) => Array.from(logits).slice(row * vocab, (row + 1) * vocab));
    const tokens = sampleRows(
      rows.slice(0, lengths[i]),
      guesses!,
      params,
      places[i]!.position + 1,
      promptIds,
      outputIds,
    );
    expect(
      found.results.slice(0, told).map((r) => r.token),
      label,
    ).toEqual(tokens);
  });
});

test('drafts are each the token that their sequence would sample, and nobody else is touched', async () => {
  const seed = freshSeed();
  const random = seededRandom(seed);
  const vocab = 257;
  const drawn = RULES.map((_, i) => draw(random, vocab, i));
  const inputs = drawn.map(({ input }) => input);
  const places = drawn.map(({ place }) => place);
  const drafts = await runSamplers(inputs, [places], { isDraft: true, recorded: 8 });
  for (const [i, { input, place }] of drawn.entries()) {
    const next = await runSampler(input, [place.position + 1]);
    expect(drafts[i]!.draft, `sequence ${i}, seed ${seed}`).toBe(next.token);
  }
});

test('NaN in the logits of one sequence is reported to it alone', async () => {
  const seed = freshSeed();
  const random = seededRandom(seed);
  const vocab = 257;
  const drawn = RULES.map((_, i) => draw(random, vocab, i));
  const inputs = drawn.map(({ input }, i) =>
    i === 3 ? { ...input, logits: Array.from(input.logits).fill(Number.NaN, 100, 101) } : input,
  );
  const together = await runSamplers(inputs, [drawn.map(({ place }) => place)]);
  expect(together.map((o) => o.results[0]!.isFinite)).toEqual(RULES.map((_, i) => i !== 3));
  const alone = await runSampler(inputs[4]!, [drawn[4]!.place.position]);
  expect(together[4]!.results, `seed ${seed}`).toEqual(alone.results);
});
