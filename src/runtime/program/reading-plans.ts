/**
 * @file The programs that run behind a chunk of a prompt, over rows of what its last layer has left: the final norm, and the head for
 * whoever asks how likely tokens are. Recorded and planned without a GPU; loaded when somebody asks. It must not know kernels or buffers.
 */
import { BLOCK_LENGTH } from '../../graph/batch.ts';
import { createGraph, rotaryTables, sessionTensor, type Tensor } from '../../graph/graph.ts';
import { lastRow } from '../../graph/ops/elementwise.ts';
import { tokenLogprob } from '../../graph/ops/token-logprob.ts';
import { topLogits } from '../../graph/ops/top-logits.ts';
import type { Plan } from '../../graph/plan.ts';
import { Weights } from '../../graph/weight.ts';
import { chunkRows, finish, type ModelSpec, type PlanOptions } from './plans.ts';

/**
 * What is read of a row: how likely a token is after it (`logprob`), that and which are the likeliest (`likeliest`), or the final norm
 * (`hidden`).
 */
export type ReadingName = 'logprob' | 'likeliest' | 'hidden';

/** Where a chunk's program has left its rows. */
export const STREAM = 'stream';
/** The most of the likeliest tokens that are read. */
export const MAX_LIKELIEST = 20;

export interface ReadingPlan {
  readonly plan: Plan;
  /** f32 [rows, hidden_size]; or what `tokenLogprob` says, and what `topLogits` finds. */
  readonly results: readonly Tensor[];
}

/** Any `rows` of a chunk's rows: the batch has a sequence for each, whose last row it is, and as its token the one that is asked about. */
export function recordReading(
  { family, config, resolve }: ModelSpec,
  options: PlanOptions,
  name: ReadingName,
  rows: number,
): ReadingPlan {
  const layout = { rows, slots: rows, capacity: BLOCK_LENGTH, windows: [undefined], rotated: 0 };
  const graph = createGraph(resolve, layout);
  graph.scope = name;
  const all = sessionTensor(graph, STREAM, [chunkRows(options), config.hiddenSize], 'f32', { kind: 'carry' });
  const found = family.forward(new Weights(graph), config, {
    graph,
    rows,
    sequences: rows,
    kvFormat: options.kvFormat,
    logits: name === 'hidden' ? 'none' : 'all',
    angles: rotaryTables(graph, rows),
    stream: lastRow(all, rows),
  });
  const results =
    name === 'hidden'
      ? [found]
      : [tokenLogprob(found), ...(name === 'likeliest' ? [topLogits(found, MAX_LIKELIEST)] : [])];
  return { plan: finish(graph, options, results), results };
}

/** The rows that a chunk's program leaves behind its last layer. Nothing overwrites them before the program comes to its logits. */
export const streamOf = (plan: Plan, { config }: ModelSpec): Tensor =>
  plan.graph.tensors.findLast(
    (t) =>
      t.name === `model.layers.${config.numHiddenLayers - 1}` && t.shape.length === 2 && plan.slotOf.has(t),
  )!;
