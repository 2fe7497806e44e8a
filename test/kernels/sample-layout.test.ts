import { expect, it } from 'vitest';
import { packCounts, packSampling } from '../../kernels/sample/layout.ts';
import { uniformAt } from '../reference/sample.ts';
import { freshSeed } from './harness.ts';

const OFF = {
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  seed: 0,
};
const flags = (params: Partial<typeof OFF>, hasBias = false, hasMask = false): number =>
  packSampling({ ...OFF, ...params }, { hasBias, hasMask })[0]!;

it('reads counts, bias and mask only when a rule needs them', () => {
  expect(flags({})).toBe(0);
  expect(flags({ temperature: 0 })).toBe(1);
  expect(flags({ repetitionPenalty: 1.1 })).toBe(2);
  expect(flags({ presencePenalty: -1 })).toBe(2);
  expect(flags({ frequencyPenalty: 0.1 })).toBe(2);
  expect(flags({}, true)).toBe(4);
  expect(flags({}, false, true)).toBe(8);
});

it('keeps top-p just below 1 apart from off', () => {
  const topP = (value: number): number => packSampling({ ...OFF, topP: value }, { hasBias: false })[3]!;
  expect(topP(1)).toBe(2 ** 32 - 1);
  expect(topP(1 - 2 ** -50)).toBe(2 ** 32 - 2);
  expect(topP(0.5)).toBe(2 ** 31);
  expect(topP(0)).toBe(0);
});

it('takes any safe integer as seed', () => {
  const words = (seed: number): number[] => [
    ...packSampling({ ...OFF, seed }, { hasBias: false }).slice(9, 11),
  ];
  expect(words(5)).toEqual([5, 0]);
  expect(words(2 ** 40 + 7)).toEqual([7, 256]);
  expect(words(-1)).toEqual([2 ** 32 - 1, 2 ** 32 - 1]);
});

it('marks tokens of the prompt and counts those of the output', () => {
  expect([...packCounts(4, [1, 1, 2], [2, 3, 3])]).toEqual([0, 0x8000_0000, 0x8000_0001, 2]);
});

it('draws uniform numbers at consecutive positions, whatever the seed', () => {
  const first = freshSeed();
  const numDraws = 40_000;
  // Chi-square over 100 classes has mean 99 and standard deviation 14; one run in ten million is above 185.
  const expectUniform = (classOf: (i: number) => number, label: string): void => {
    const counts = new Array<number>(100).fill(0);
    for (let i = 0; i < numDraws; i++) counts[classOf(i)]!++;
    const expected = numDraws / 100;
    const chi = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    expect(chi, `${label}, seed ${first}`).toBeLessThan(185);
  };
  const tenth = (seed: number, position: number): number => Math.floor(uniformAt(seed, position) * 10);
  expectUniform((i) => Math.floor(uniformAt(first, i) * 100), 'positions');
  expectUniform((i) => Math.floor(uniformAt(first + i, 7) * 100), 'seeds');
  expectUniform((i) => 10 * tenth(first, i) + tenth(first, i + 1), 'pairs of positions');
  expectUniform((i) => 10 * tenth(first + i, 7) + tenth(first + i + 1, 7), 'pairs of seeds');
  expectUniform(
    (i) => 10 * tenth(i % 200, Math.floor(i / 200)) + tenth(first, i),
    'small seeds and positions',
  );
});
