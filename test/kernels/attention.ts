/** @file Problems for the attention kernels: random inputs, recording, and comparison with the f64 twin. */
import { expect } from 'vitest';
import { attend } from '../../kernels/attention/attend.ts';
import { attendMerge } from '../../kernels/attention/attend-merge.ts';
import { attendSplit } from '../../kernels/attention/attend-split.ts';
import type { StepRows } from '../../src/gpu/kernel.ts';
import {
  createTensor,
  type Graph,
  record,
  sessionTensor,
  type Tensor,
  viewColumns,
} from '../../src/graph/graph.ts';
import { attend as recordAttend, type Splitting } from '../../src/graph/ops/attention.ts';
import { type KvCache, kvCache } from '../../src/graph/ops/cache.ts';
import { splitHeads } from '../../src/graph/ops/heads.ts';
import { type Attention, type AttentionShape, attend as attendTwin } from '../reference/attend.ts';
import {
  f16Bits,
  f16Value,
  freshSeed,
  type Outcome,
  randomNormal,
  runVariants,
  seededRandom,
} from './harness.ts';

export interface HeadShape {
  /** Query heads that share a kv head. */
  group: number;
  kvHeads: number;
  headDim: number;
  /** A latent cache: values are the first `rank` of the headDim values of a key. */
  rank?: number;
  dtype: 'f16' | 'f32';
}

/** Values of a head of the cache's values. */
export const vDimOf = (shape: HeadShape): number => shape.rank ?? shape.headDim;

export interface Case extends HeadShape, StepRows {
  /** Rows the op is recorded for, at least those of the step. */
  recorded: number;
  scale: number;
  seed: number;
}

export interface Inputs {
  q: Float32Array;
  keys: Float32Array;
  values: Float32Array;
}

/** More positions than any step reads; the rest is poison. */
export const CAPACITY = 1024;

export function caseOf(shape: HeadShape, step: StepRows & { recorded?: number }): Case {
  const { recorded = step.rows, rows, position } = step;
  return { ...shape, rows, position, recorded, scale: shape.headDim ** -0.5, seed: freshSeed() };
}

/** Normally distributed; so are the scores, times `scoreScale`. */
export function randomInputs(c: Case, scoreScale = 1): Inputs {
  const random = seededRandom(c.seed);
  const cached = (c.position + c.rows) * c.kvHeads * c.headDim;
  const stored = (x: Float32Array) => (c.dtype === 'f16' ? x.map((v) => f16Value(f16Bits(v))) : x);
  const q = randomNormal(random, c.rows * c.kvHeads * c.group * c.headDim, scoreScale);
  const keys = stored(randomNormal(random, cached));
  const values = c.rank
    ? keys.filter((_, i) => i % c.headDim < vDimOf(c))
    : stored(randomNormal(random, cached));
  return { q, keys, values };
}

export const shapeOf = (c: Case): AttentionShape => ({
  rows: c.rows,
  position: c.position,
  scale: c.scale,
  heads: c.kvHeads * c.group,
  kvHeads: c.kvHeads,
  kDim: c.headDim,
  vDim: vDimOf(c),
});

export const twinOf = (c: Case, { q, keys, values }: Inputs): Attention =>
  attendTwin(q, keys, values, shapeOf(c));

/** Queries are a view of wider rows, as behind a fused projection. */
function recordInputs(graph: Graph, c: Case): { q: Tensor; cache: KvCache } {
  const heads = c.kvHeads * c.group;
  const wide = createTensor(graph, [c.recorded, (heads + 1) * c.headDim]);
  const [, q] = splitHeads(wide, [1, heads], c.headDim);
  if (!c.rank) return { q: q!, cache: kvCache(graph, 0, CAPACITY, c.kvHeads, c.headDim, c.dtype) };
  const keys = sessionTensor(graph, 'latent', [CAPACITY, 1, c.headDim], c.dtype);
  return { q: q!, cache: { keys, values: viewColumns(keys, 0, [1, c.rank]) } };
}

export const runAttend = (c: Case, inputs: Inputs): Promise<Outcome[]> =>
  runVariants(attend, {
    record(graph) {
      const { q, cache } = recordInputs(graph, c);
      recordAttend(q, cache, c.scale);
    },
    data: { ...inputs },
    step: c,
  });

export interface Splits {
  splitLength: number;
  maxSplits: number;
  /** Workgroups that fill the device. Default: more than there are splits for. */
  workgroups?: number;
}

/** As for a model, where each kv head has its workgroup. */
const splittingOf = (c: Case, { splitLength, maxSplits }: Splits): Splitting => ({
  splitLength,
  maxSplits,
  groups: c.kvHeads,
});

const stepOf = ({ rows, position }: Case, { workgroups }: Splits) => ({
  rows,
  position,
  ...(workgroups && { workgroups }),
});

/** Values in a partial result: the weighted sum, largest score, sum of exponentials, padding. */
export const widthOf = (c: Case): number => Math.ceil((vDimOf(c) + 2) / 4) * 4;

export const runSplit = (c: Case, inputs: Inputs, splits: Splits): Promise<Outcome[]> =>
  runVariants(attendSplit, {
    record(graph) {
      const { q, cache } = recordInputs(graph, c);
      record(graph, {
        kind: 'attendSplit',
        scope: 'layer',
        inputs: { q, ...cache },
        weights: {},
        attrs: { ...splittingOf(c, splits), scale: c.scale },
        outputs: {
          partials: createTensor(graph, [c.recorded, c.kvHeads * c.group, splits.maxSplits, widthOf(c)]),
        },
      });
    },
    data: { ...inputs },
    step: stepOf(c, splits),
  });

/** Both halves; whatever the first did not write is poison to the second. */
export async function runSplitAndMerge(c: Case, inputs: Inputs, splits: Splits): Promise<Outcome[]> {
  const heads = c.kvHeads * c.group;
  const outcomes: Outcome[] = [];
  for (const half of await runSplit(c, inputs, splits)) {
    const merged = await runVariants(attendMerge, {
      record(graph) {
        record(graph, {
          kind: 'attendMerge',
          scope: 'layer',
          inputs: { partials: createTensor(graph, [c.recorded, heads, splits.maxSplits, widthOf(c)]) },
          weights: {},
          attrs: splittingOf(c, splits),
          outputs: { out: createTensor(graph, [c.recorded, heads * vDimOf(c)]) },
        });
      },
      data: { partials: half.outputs.partials! },
      step: stepOf(c, splits),
    });
    outcomes.push(...merged.map((o) => ({ ...o, label: `${half.label}, ${o.label}` })));
  }
  return outcomes;
}

/**
 * What rounding of f32 (2^-24 at a time) may do: a score is off by a few roundings of its largest terms, which becomes
 * the relative error of a weight, and a weighted sum has a few roundings more.
 */
export const tolerance = (magnitude: number, scoreMagnitude: number): number =>
  magnitude * 2 ** -24 * (32 + 4 * scoreMagnitude);

/** Rows of the step match the twin, NaN where it has NaN; rows behind them are still poison. */
export function expectAttention(c: Case, twin: Attention, { label, outputs }: Outcome): void {
  const found = outputs.out!;
  const wrong: string[] = [];
  for (let i = 0; i < found.length; i++) {
    const wanted = i < twin.out.length ? twin.out[i]! : Number.NaN;
    const allowed = tolerance(twin.magnitude[i]!, twin.scoreMagnitude[Math.floor(i / vDimOf(c))]!);
    const isRight = Number.isNaN(wanted) ? Number.isNaN(found[i]) : Math.abs(found[i]! - wanted) <= allowed;
    if (!isRight) wrong.push(`${i} is ${found[i]}, wanted ${wanted} within ${allowed}`);
  }
  expect(wrong.slice(0, 8), `${label} seed ${c.seed}: ${wrong.length} wrong`).toEqual([]);
}
