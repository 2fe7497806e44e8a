/** @file Chooses the k experts of one row; the formula is that of RouteOp in src/graph/ops/experts.ts. */
import type { RouteOp } from '../../src/graph/ops/experts.ts';

export interface Routed {
  /** Best first. */
  readonly experts: number[];
  readonly scales: number[];
  readonly scores: Float64Array;
  /** What experts were chosen by. Without a bias the logits: scores have their order, but may underflow. */
  readonly choice: Float64Array;
  /** The best experts of each group, one or two, the sum of their choice scores, and the groups that were kept. */
  readonly groupBest: number[][];
  readonly groupScores: Float64Array;
  readonly kept: number[];
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** Those of the indices `among`, ascending, that have the `count` largest values, largest first; of equal ones the lowest index. */
function largest(values: Float64Array, among: readonly number[], count: number): number[] {
  const left = values.slice();
  const chosen: number[] = [];
  while (chosen.length < count) {
    let best = among[0]!;
    for (const i of among) if (left[i]! > left[best]!) best = i;
    left[best] = Number.NEGATIVE_INFINITY;
    chosen.push(best);
  }
  return chosen;
}

export function scalesOf(
  scores: Float64Array,
  experts: readonly number[],
  { normalize, scale }: Pick<RouteOp['attrs'], 'normalize' | 'scale'>,
): number[] {
  const sum = experts.reduce((s, i) => s + scores[i]!, 0);
  return experts.map((i) => (scores[i]! / (normalize ? sum : 1)) * scale);
}

export function route(logits: Float32Array, bias: Float32Array | undefined, attrs: RouteOp['attrs']): Routed {
  const { k, scoring, numGroups, keptGroups, groupBest: numBest } = attrs;
  const x = new Float64Array(logits);
  const top = x.reduce((a, b) => Math.max(a, b));
  const total = x.reduce((sum, value) => sum + Math.exp(value - top), 0);
  const scores = x.map((value) => (scoring === 'softmax' ? Math.exp(value - top) / total : sigmoid(value)));
  const choice = bias ? scores.map((score, i) => score + bias[i]!) : x;

  const groupSize = logits.length / numGroups;
  const groups: number[][] = [];
  for (let i = 0; i < x.length; i++) {
    if (i % groupSize === 0) groups.push([]);
    groups.at(-1)!.push(i);
  }
  const groupBest = groups.map((group) => largest(choice, group, Math.min(numBest, groupSize)));
  const groupScores = Float64Array.from(groupBest, (best) =>
    best.reduce((sum, i) => sum + scores[i]! + (bias?.[i] ?? 0), 0),
  );
  const kept = largest(groupScores, [...groups.keys()], keptGroups);

  const eligible = ([] as number[]).concat(...groups.filter((_, g) => kept.includes(g)));
  const experts = largest(choice, eligible, k);
  return { experts, scales: scalesOf(scores, experts, attrs), scores, choice, groupBest, groupScores, kept };
}
