import { expect, it } from 'vitest';
import { route as variants } from '../../kernels/experts/route.ts';
import { createTensor, type Graph, viewColumns } from '../../src/graph/graph.ts';
import { type RouteOp, route } from '../../src/graph/ops/experts.ts';
import { Weights } from '../../src/graph/weight.ts';
import { type Routed, route as reference, scalesOf } from '../reference/route.ts';
import { freshSeed, type Outcome, POISON, randomNormal, runVariants, seededRandom } from './harness.ts';

interface Config {
  name: string;
  numExperts: number;
  attrs: RouteOp['attrs'];
  hasBias?: boolean;
}

const attrsOf = (
  given: Pick<RouteOp['attrs'], 'k' | 'scoring'> & Partial<RouteOp['attrs']>,
): RouteOp['attrs'] => ({ numGroups: 1, keptGroups: 1, groupBest: 2, normalize: false, scale: 1, ...given });

const configs: Config[] = [
  { name: 'qwen3-30b', numExperts: 128, attrs: attrsOf({ k: 8, scoring: 'softmax', normalize: true }) },
  { name: 'qwen2-moe', numExperts: 60, attrs: attrsOf({ k: 4, scoring: 'softmax' }) },
  {
    name: 'deepseek-v3',
    numExperts: 256,
    hasBias: true,
    attrs: attrsOf({ k: 8, scoring: 'sigmoid', numGroups: 8, keptGroups: 4, normalize: true, scale: 2.5 }),
  },
  {
    name: 'as many as there may be',
    numExperts: 512,
    attrs: attrsOf({ k: 16, scoring: 'softmax', normalize: true }),
  },
  { name: 'ten', numExperts: 10, attrs: attrsOf({ k: 4, scoring: 'sigmoid', normalize: true }) },
  {
    name: 'one group',
    numExperts: 16,
    hasBias: true,
    attrs: attrsOf({ k: 6, scoring: 'sigmoid', scale: 0.5 }),
  },
  {
    name: 'softmax in groups',
    numExperts: 16,
    attrs: attrsOf({ k: 4, scoring: 'softmax', numGroups: 4, keptGroups: 2 }),
  },
  {
    name: 'deepseek-v2',
    numExperts: 160,
    attrs: attrsOf({ k: 6, scoring: 'softmax', numGroups: 8, keptGroups: 3, groupBest: 1, scale: 16 }),
  },
  {
    name: 'sigmoid in pairs',
    numExperts: 14,
    attrs: attrsOf({ k: 5, scoring: 'sigmoid', numGroups: 7, keptGroups: 3, normalize: true }),
  },
  { name: 'all of them', numExperts: 13, attrs: attrsOf({ k: 13, scoring: 'softmax', scale: 16 }) },
];

/** Logits are a view into a wider row, as behind a fused projection; three rows more are recorded than run. */
function run(
  { numExperts, attrs }: Pick<Config, 'numExperts' | 'attrs'>,
  logits: Float32Array,
  bias?: Float32Array,
): Promise<Outcome[]> {
  const rows = logits.length / numExperts;
  return runVariants(variants, {
    record(graph: Graph) {
      const view = viewColumns(createTensor(graph, [rows + 3, numExperts + 5]), 3, [numExperts]);
      route(view, attrs, bias && new Weights(graph).vector(['bias'], [numExperts]));
    },
    data: { logits },
    weights: bias && { bias },
    batch: { rows },
  });
}

/**
 * Most rows are normal, of any spread; a quarter is on a coarse grid, with many equal logits; in some all are equal. The grid is
 * off zero, so that sigmoid(x) + sigmoid(-x) does not tie sums of different scores.
 */
function drawRows(random: () => number, rows: number, cols: number): Float32Array {
  const logits = randomNormal(random, rows * cols);
  for (let r = 0; r < rows; r++) {
    const row = logits.subarray(r * cols, (r + 1) * cols);
    const kind = random();
    const spread = 4 * random();
    if (kind < 0.1) row.fill(row[0]!);
    else if (kind < 0.35)
      row.forEach((x, i) => {
        row[i] = (Math.round(3 * x) + 0.25) / 2;
      });
    else
      row.forEach((x, i) => {
        row[i] = spread * x;
      });
  }
  return logits;
}

/** A coarse grid as well, on which different pairs have different sums. */
const BIASES = [0, 1 / 8, 3 / 8, -1 / 2];

/*
 * What float32 may get wrong, by the accuracy that WGSL promises: exp(x) 3 + 2 |x| ULP, a quotient 2.5 ULP, log 2^-21 up to 2,
 * sums and products half a ULP.
 */
const ULP = 2 ** -23;
/** Of exp(-d), relative; d is a difference that was rounded itself. */
const expError = (d: number): number => (3 + 2.5 * d) * ULP;
/** Of sigmoid(x), relative: the error of exp reaches it by the share 1 - sigmoid(x); a sum and a quotient follow. */
const sigmoidError = (x: number, score: number): number => ((3 + 2 * Math.abs(x)) * (1 - score) + 3) * ULP;

/**
 * How far apart two choice scores, or two group scores, may be and still be swapped. Logits themselves are exact. The error of
 * a sigmoid is at most 4 ULP of 1: 3 from the sum and the quotient, and (3 + 2 |x|) s (1 - s) < 1. Adding a bias rounds
 * by half a ULP of what comes out, at most 1 + |bias|; a group adds two of these, and rounds again.
 * The logarithm of a softmax group score: exp gives (3 + 2.5 d) e^-d / (1 + e^-d) < 1.7, two sums 0.5 and 0.5 * (|x| + 1), log 4.
 */
function bounds({ scoring }: RouteOp['attrs'], logits: Float32Array, bias: Float32Array | undefined) {
  const largest = (values: Float32Array): number => values.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  const sum = 1 + (bias ? largest(bias) : 0);
  return {
    choice: bias ? 2 * (4 + sum / 2) * ULP : 0,
    group: (score: number): number =>
      scoring === 'softmax' ? 2 * score * (7 + largest(logits) / 2) * ULP : 2 * (8 + 2 * sum) * ULP,
  };
}

interface Row {
  readonly logits: Float32Array;
  readonly bias: Float32Array | undefined;
  readonly routed: Routed;
  readonly bound: ReturnType<typeof bounds>;
}

/** Whether float32 may order this row otherwise: scores within the bound that do not come from the very same numbers. */
function isClose({ logits, bias, routed, bound }: Row, { k, numGroups }: RouteOp['attrs']): boolean {
  const { choice, experts, groupBest, groupScores, kept } = routed;
  const isTie = (i: number, j: number): boolean => logits[i] === logits[j] && bias?.[i] === bias?.[j];
  const areCloseGroups = (g: number, h: number): boolean =>
    groupScores[g]! - groupScores[h]! <= bound.group(groupScores[g]!) &&
    !groupBest[g]!.every((i, n) => isTie(i, groupBest[h]![n]!));
  const left = [...groupScores.keys()].filter((g) => !kept.includes(g));
  if (kept.some((g) => left.some((h) => areCloseGroups(g, h)))) return true;
  if (!bias) return false;

  const areClose = (i: number, j: number): boolean =>
    Math.abs(choice[i]! - choice[j]!) <= bound.choice && !isTie(i, j);
  const groupSize = logits.length / numGroups;
  const isLeft = (i: number): boolean => kept.includes(Math.floor(i / groupSize)) && !experts.includes(i);
  return (
    experts.some((i, s) => s > 0 && areClose(i, experts[s - 1]!)) ||
    choice.some((_, i) => isLeft(i) && areClose(i, experts[k - 1]!))
  );
}

/** Whether a choice other than the twin's is as good within the bound. */
function isWithinBound(
  chosen: readonly number[],
  { logits, routed, bound }: Row,
  { numGroups }: RouteOp['attrs'],
): boolean {
  const { choice, groupScores, kept } = routed;
  const leastKept = Math.min(...kept.map((g) => groupScores[g]!));
  const mostLeft = Math.max(...groupScores.filter((_, g) => !kept.includes(g)));
  const scoreOfGroup = (i: number): number => groupScores[Math.floor(i / (logits.length / numGroups))]!;
  const last = chosen.at(-1)!;
  return (
    new Set(chosen).size === chosen.length &&
    chosen.every((i) => scoreOfGroup(i) >= leastKept - bound.group(leastKept)) &&
    chosen.every((i, s) => s === 0 || choice[i]! <= choice[chosen[s - 1]!]! + bound.choice) &&
    // Of the groups that are surely kept nothing better was left out.
    [...choice.keys()].every(
      (i) =>
        chosen.includes(i) ||
        scoreOfGroup(i) <= mostLeft + bound.group(leastKept) ||
        choice[i]! <= choice[last]! + bound.choice,
    )
  );
}

/** The largest relative errors of the scales of `experts`. */
function scaleErrors(experts: readonly number[], { logits, routed }: Row, attrs: RouteOp['attrs']): number[] {
  const { scores } = routed;
  const best = logits[experts[0]!]!;
  const errorOf = (i: number): number =>
    attrs.scoring === 'softmax'
      ? expError(Math.abs(best - logits[i]!))
      : sigmoidError(logits[i]!, scores[i]!);
  // The scores that are summed up, each with its share of the sum, and a rounding for each.
  let summed: readonly number[] = [];
  if (attrs.normalize) summed = experts;
  else if (attrs.scoring === 'softmax') summed = [...scores.keys()];
  const sum = summed.reduce((s, i) => s + scores[i]!, 0);
  const sumError = summed.reduce((e, i) => e + (scores[i]! / sum) * errorOf(i) + ULP / 2, 0);
  // The quotient, and a scale that is rounded itself.
  return experts.map((i) => errorOf(i) + sumError + 3.5 * ULP);
}

it.each(configs)(
  'chooses and weighs experts as float64 does, ties by the lowest id: $name',
  async (config) => {
    const numRows = 10_000;
    const seed = freshSeed();
    const random = seededRandom(seed);
    const { numExperts, attrs } = config;
    const { k } = attrs;
    const all = drawRows(random, numRows, numExperts);
    const bias = config.hasBias
      ? Float32Array.from({ length: numExperts }, () => BIASES[Math.floor(4 * random())]!)
      : undefined;
    const outcomes = await run(config, all, bias);
    let numClose = 0;
    for (let r = 0; r < numRows; r++) {
      const logits = all.subarray(r * numExperts, (r + 1) * numExperts);
      const routed = reference(logits, bias, attrs);
      const row: Row = { logits, bias, routed, bound: bounds(attrs, logits, bias) };
      const mayDiffer = isClose(row, attrs);
      numClose += Number(mayDiffer);
      for (const { label, outputs } of outcomes) {
        const fail = (what: string): never => {
          throw new Error(`${label}, seed ${seed}, row ${r}: ${what}`);
        };
        const experts = [...outputs.experts!.subarray(r * k, (r + 1) * k)];
        const isSame = experts.every((e, s) => e === routed.experts[s]);
        if (!isSame && !(mayDiffer && isWithinBound(experts, row, attrs))) {
          fail(`experts ${experts}, wanted ${routed.experts}`);
        }
        const wanted = isSame ? routed.scales : scalesOf(routed.scores, experts, attrs);
        const errors = scaleErrors(experts, row, attrs);
        wanted.forEach((scale, s) => {
          const found = outputs.scales![r * k + s]!;
          if (!(Math.abs(found - scale) <= errors[s]! * scale))
            fail(`scale ${s} is ${found}, wanted ${scale}`);
        });
      }
    }
    for (const { label, outputs } of outcomes) {
      expect([...outputs.experts!.subarray(numRows * k)], label).toEqual(Array(3 * k).fill(POISON));
      expect([...outputs.scales!.subarray(numRows * k)], label).toEqual(Array(3 * k).fill(Number.NaN));
    }
    // Else the comparison would say little.
    expect(numClose, `seed ${seed}: rows too close to tell`).toBeLessThan(numRows / 100);
  },
);

it('gives valid experts and no scales to a row with a logit that is not finite, and leaves other rows alone', async () => {
  const seed = freshSeed();
  const random = seededRandom(seed);
  for (const config of configs.filter((c) => c.numExperts < 256)) {
    const { numExperts, attrs } = config;
    const { k } = attrs;
    const logits = drawRows(random, 7, numExperts);
    const bias = config.hasBias ? randomNormal(random, numExperts) : undefined;
    const clean = logits.slice();
    const somewhere = (row: number): number => row * numExperts + Math.floor(numExperts * random());
    logits[somewhere(1)] = Number.NaN;
    logits[somewhere(2)] = Number.POSITIVE_INFINITY;
    logits[somewhere(3)] = Number.NEGATIVE_INFINITY;
    logits.fill(Number.NaN, 5 * numExperts, 6 * numExperts);
    const isBad = (row: number): boolean => [1, 2, 3, 5].includes(row);
    const before = await run(config, clean, bias);
    (await run(config, logits, bias)).forEach(({ label, outputs }, n) => {
      for (let row = 0; row < 7; row++) {
        const where = `${label}, ${config.name}, seed ${seed}, row ${row}`;
        const of = (role: string, o = outputs) => [...o[role]!.subarray(row * k, (row + 1) * k)];
        expect(new Set(of('experts')).size, where).toBe(attrs.k);
        expect(Math.max(...of('experts')), where).toBeLessThan(numExperts);
        if (isBad(row)) expect(of('scales'), where).toEqual(Array(k).fill(Number.NaN));
        else {
          expect(of('scales'), where).toEqual(of('scales', before[n]!.outputs));
          expect(of('experts'), where).toEqual(of('experts', before[n]!.outputs));
        }
      }
    });
  }
});

it('weighs experts whose logits are far apart', async () => {
  const logits = Float32Array.of(-1e4, 3e38, 1e4, -3e38, 1e-30, 0, -0, 5, 1e4, 1e4, 1e4, 1e4, 1, 2, 3, 4);
  const experts = [1, 2, 7, 4, 5, 6, 0, 3, 0, 1, 2, 3, 7, 6, 5, 4];
  const percents = [100, 0, 0, 0, 0, 0, 0, 0, 25, 25, 25, 25, 0, 0, 0, 0];
  for (const normalize of [true, false]) {
    const attrs = attrsOf({ k: 8, scoring: 'softmax', normalize });
    for (const { label, outputs } of await run({ numExperts: 8, attrs }, logits)) {
      expect([...outputs.experts!.subarray(0, 16)], label).toEqual(experts);
      const found = [...outputs.scales!.subarray(0, 16)];
      found.forEach((scale, i) => {
        expect(scale, label).toBeCloseTo(percents[i]! / 100, 6);
      });
    }
  }
});
