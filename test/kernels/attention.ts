/** @file Problems for the attention kernels: random inputs, recording, and comparison with the f64 twin. */
import { expect } from 'vitest';
import { attend } from '../../kernels/attention/attend.ts';
import { attendMerge } from '../../kernels/attention/attend-merge.ts';
import { attendSplit } from '../../kernels/attention/attend-split.ts';
import { type BatchLayout, BLOCK_LENGTH } from '../../src/graph/batch.ts';
import {
  batchTensor,
  createTensor,
  type Graph,
  record,
  sessionTensor,
  type Tensor,
  viewColumns,
} from '../../src/graph/graph.ts';
import { attend as recordAttend, type Splitting } from '../../src/graph/ops/attention.ts';
import { type KvCache, type KvFormat, kvCache, kvRole } from '../../src/graph/ops/cache.ts';
import { splitHeads } from '../../src/graph/ops/heads.ts';
import { type Attention, type AttentionShape, attend as attendTwin } from '../reference/attend.ts';
import { throughInt8 } from '../reference/kv-cache.ts';
import { type SequenceRows, sequencesOf } from './batch.ts';
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
  /** int8 wants heads of a multiple of 16. */
  dtype: KvFormat;
}

/** Values of a head of the cache's values. */
export const vDimOf = (shape: HeadShape): number => shape.rank ?? shape.headDim;

export interface Case extends HeadShape {
  sequences: readonly SequenceRows[];
  /** Rows the op is recorded for, at least those of the batch. */
  recorded: number;
  window?: number | undefined;
  layout?: Partial<BatchLayout> | undefined;
  scale: number;
  seed: number;
}

export interface Inputs {
  q: Float32Array;
  /** By sequence, each from position 0 on. */
  keys: Float32Array[];
  values: Float32Array[];
}

type Rows = { rows: number; position: number } | { sequences: readonly SequenceRows[] };

export function caseOf(
  shape: HeadShape,
  rows: Rows & Partial<Pick<Case, 'recorded' | 'window' | 'layout'>>,
): Case {
  const sequences = sequencesOf(rows);
  const { recorded = totalRows({ sequences }), window, layout } = rows;
  return { ...shape, sequences, recorded, window, layout, scale: shape.headDim ** -0.5, seed: freshSeed() };
}

export const totalRows = ({ sequences }: Pick<Case, 'sequences'>): number =>
  sequences.reduce((sum, { rows }) => sum + rows, 0);

/** Values as the cache gives them back. */
function stored(c: HeadShape, x: Float32Array): Float32Array {
  if (c.dtype === 'int8') return throughInt8(x, c.headDim);
  return c.dtype === 'f16' ? x.map((v) => f16Value(f16Bits(v))) : x;
}

/** Normally distributed; so are the scores, times `scoreScale`. What lies before the window of all rows is NaN. */
export function randomInputs(c: Case, scoreScale = 1): Inputs {
  const random = seededRandom(c.seed);
  const width = c.kvHeads * c.headDim;
  const cached = ({ position, rows }: SequenceRows): Float32Array => {
    const unseen = Math.max(0, position + 1 - (c.window ?? Number.POSITIVE_INFINITY));
    return stored(c, randomNormal(random, (position + rows) * width)).fill(Number.NaN, 0, unseen * width);
  };
  const q = randomNormal(random, totalRows(c) * c.kvHeads * c.group * c.headDim, scoreScale);
  const keys = c.sequences.map(cached);
  const values = c.rank
    ? keys.map((ofSequence) => ofSequence.filter((_, i) => i % c.headDim < vDimOf(c)))
    : c.sequences.map(cached);
  return { q, keys, values };
}

export const shapeOf = (c: Case, { rows, position }: SequenceRows): AttentionShape => ({
  rows,
  position,
  scale: c.scale,
  heads: c.kvHeads * c.group,
  kvHeads: c.kvHeads,
  kDim: c.headDim,
  vDim: vDimOf(c),
  window: c.window,
});

export function twinOf(c: Case, { q, keys, values }: Inputs): Attention {
  const width = c.kvHeads * c.group * c.headDim;
  let row = 0;
  const parts = c.sequences.map((sequence, s) => {
    const begin = row;
    row += sequence.rows;
    return attendTwin(q.subarray(begin * width, row * width), keys[s]!, values[s]!, shapeOf(c, sequence));
  });
  const join = (role: keyof Attention): Float64Array =>
    Float64Array.from(parts.flatMap((part) => [...part[role]]));
  return { out: join('out'), magnitude: join('magnitude'), scoreMagnitude: join('scoreMagnitude') };
}

/** A row alone: its part of q, and what its sequence has cached up to it. */
export function aloneOf(c: Case, { q, keys, values }: Inputs, row: number): { c: Case; inputs: Inputs } {
  let s = 0;
  let first = 0;
  while (row >= first + c.sequences[s]!.rows) first += c.sequences[s++]!.rows;
  const { position, slot } = c.sequences[s]!;
  const at = position + row - first;
  const width = c.kvHeads * c.group * c.headDim;
  return {
    c: { ...c, sequences: [{ rows: 1, position: at, slot }], recorded: 1 },
    inputs: {
      q: q.subarray(row * width, (row + 1) * width),
      keys: [keys[s]!.subarray(0, (at + 1) * c.kvHeads * c.headDim)],
      values: [values[s]!.subarray(0, (at + 1) * c.kvHeads * vDimOf(c))],
    },
  };
}

/** Queries are a view of wider rows, as behind a fused projection. */
function recordInputs(graph: Graph, c: Case): { q: Tensor; cache: KvCache } {
  const heads = c.kvHeads * c.group;
  const wide = createTensor(graph, [c.recorded, (heads + 1) * c.headDim]);
  const [, q] = splitHeads(wide, [1, heads], c.headDim);
  const { kvHeads, headDim, dtype: format, window } = c;
  if (!c.rank) return { q: q!, cache: kvCache(graph, 0, { kvHeads, headDim, format, window }) };
  const keys = sessionTensor(graph, 'latent', [BLOCK_LENGTH, 1, headDim], format, kvRole(graph, 0, window));
  return { q: q!, cache: { keys, values: viewColumns(keys, 0, [1, c.rank]), window } };
}

/** What every problem of a case has. Layers with other windows have tables of their own. */
const problemOf = (c: Case, { q, keys, values }: Inputs, { workgroups }: Partial<Splits> = {}) => ({
  data: { q },
  // The values of a latent are its keys.
  caches: { keys, ...(!c.rank && { values }) },
  batch: { sequences: c.sequences, ...(workgroups && { workgroups }) },
  layout: { ...c.layout, windows: c.window === undefined ? [undefined, 7] : [undefined, c.window] },
});

export const runAttend = (c: Case, inputs: Inputs): Promise<Outcome[]> =>
  runVariants(attend, {
    record(graph) {
      const { q, cache } = recordInputs(graph, c);
      recordAttend(q, cache, c.scale);
    },
    ...problemOf(c, inputs),
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
  window: c.window,
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
        inputs: { q, keys: cache.keys, values: cache.values, batch: batchTensor(graph) },
        weights: {},
        attrs: { ...splittingOf(c, splits), scale: c.scale },
        outputs: {
          partials: createTensor(graph, [c.recorded, c.kvHeads * c.group, splits.maxSplits, widthOf(c)]),
        },
      });
    },
    ...problemOf(c, inputs, splits),
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
          inputs: {
            partials: createTensor(graph, [c.recorded, heads, splits.maxSplits, widthOf(c)]),
            batch: batchTensor(graph),
          },
          weights: {},
          attrs: splittingOf(c, splits),
          outputs: { out: createTensor(graph, [c.recorded, heads * vDimOf(c)]) },
        });
      },
      ...problemOf(c, inputs, splits),
      data: { partials: half.outputs.partials! },
    });
    outcomes.push(...merged.map((o) => ({ ...o, label: `${half.label}, ${o.label}` })));
  }
  return outcomes;
}

/** Roundings at the size of a whole score: few, where a sum of many like terms grows as it goes. */
const SCORE_ROUNDINGS = 4;

/**
 * What rounding of f32 (2^-24 at a time) may do: a score is off by some roundings of its largest terms, which becomes
 * the relative error of a weight, and a weighted sum has a few roundings more.
 */
export const tolerance = (
  magnitude: number,
  scoreMagnitude: number,
  scoreRoundings = SCORE_ROUNDINGS,
): number => magnitude * 2 ** -24 * (32 + scoreRoundings * scoreMagnitude);

/** Rows of the batch match the twin, NaN where it has NaN; rows behind them are still poison. */
export function expectAttention(
  c: Case,
  twin: Attention,
  { label, outputs }: Outcome,
  scoreRoundings = SCORE_ROUNDINGS,
): void {
  const found = outputs.out!;
  const wrong: string[] = [];
  for (let i = 0; i < found.length; i++) {
    const wanted = i < twin.out.length ? twin.out[i]! : Number.NaN;
    const scoreMagnitude = twin.scoreMagnitude[Math.floor(i / vDimOf(c))]!;
    const allowed = tolerance(twin.magnitude[i]!, scoreMagnitude, scoreRoundings);
    const isRight = Number.isNaN(wanted) ? Number.isNaN(found[i]) : Math.abs(found[i]! - wanted) <= allowed;
    if (!isRight) wrong.push(`${i} is ${found[i]}, wanted ${wanted} within ${allowed}`);
  }
  expect(wrong.slice(0, 8), `${label} seed ${c.seed}: ${wrong.length} wrong`).toEqual([]);
}
