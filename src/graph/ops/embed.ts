/** @file Token ids to rows of an embedding table. */
import { createTensor, type OpRecord, type Out, record, type Tensor } from '../graph.ts';
import { rowsOf } from '../shapes.ts';
import type { Weight } from '../weight.ts';

/** out[r] = table[tokens[r]]. tokens u32 [rows]; an id outside the table gives a row of NaN. */
export type EmbedOp = OpRecord<'embed', { tokens: Tensor }, { weight: Weight }, object, Out>;

declare module '../graph.ts' {
  interface OpTable {
    embed: EmbedOp;
  }
}

/** tokens u32 [rows] -> f32 [rows, hidden]. */
export function embed(tokens: Tensor, weight: Weight): Tensor {
  const out = createTensor(tokens.graph, [rowsOf(tokens), weight.cols]);
  record(tokens.graph, {
    kind: 'embed',
    scope: tokens.graph.scope,
    inputs: { tokens },
    weights: { weight },
    attrs: {},
    outputs: { out },
  });
  return out;
}
