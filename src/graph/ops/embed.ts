/** @file Token ids to rows of an embedding table. */
import {
  batchTensor,
  createTensor,
  type Graph,
  type OpRecord,
  type Out,
  record,
  sessionTensor,
  type Tensor,
} from '../graph.ts';
import type { Weight } from '../weight.ts';

/**
 * out[r] = scale * table[token of row r]: the id in the batch, or one that the sampler keeps for the row's slot in `sampled` u32 [1, 2]. An id
 * outside the table gives a row of NaN.
 */
export type EmbedOp = OpRecord<
  'embed',
  { batch: Tensor; sampled: Tensor },
  { weight: Weight },
  { scale: number },
  Out
>;

declare module '../graph.ts' {
  interface OpTable {
    embed: EmbedOp;
  }
}

/** For each slot the id sampled last, and the guess of the one after it. */
export const sampledTokens = (graph: Graph): Tensor =>
  sessionTensor(graph, 'sampled', [1, 2], 'u32', { kind: 'sampler' });

/** The tokens of `rows` rows of the batch -> f32 [rows, hidden], their rows of the table times `scale`. */
export function embed(graph: Graph, rows: number, weight: Weight, scale = 1): Tensor {
  const out = createTensor(graph, [rows, weight.cols]);
  record(graph, {
    kind: 'embed',
    scope: graph.scope,
    inputs: { batch: batchTensor(graph), sampled: sampledTokens(graph) },
    weights: { weight },
    attrs: { scale },
    outputs: { out },
  });
  return out;
}
