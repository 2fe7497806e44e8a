/** @file How likely given tokens are: a graph of its own, behind a chunk of a prompt whose tokens somebody asks about. */
import { batchTensor, createTensor, type OpRecord, record, type Tensor } from '../graph.ts';
import { rowsOf } from '../shapes.ts';

/**
 * What the softmax of each row of logits says of one token, that of the batch's row. logits f32 [rows, vocab] -> said u32 [rows, 4]: the bits
 * of the token's logit, of the largest logit, and of the sum of exp(logit - largest); and its rank, 1 + the number of larger logits, or 0 where a
 * logit is NaN or +infinity, or none is finite.
 */
export type TokenLogprobOp = OpRecord<
  'tokenLogprob',
  { logits: Tensor; batch: Tensor },
  object,
  object,
  { said: Tensor }
>;

declare module '../graph.ts' {
  interface OpTable {
    tokenLogprob: TokenLogprobOp;
  }
}

/** Words of a row. */
export const SAID_WORDS = 4;

/** logits f32 [rows, vocab] -> said u32 [rows, 4], as `TokenLogprobOp` has it. */
export function tokenLogprob(logits: Tensor): Tensor {
  const { graph } = logits;
  const said = createTensor(graph, [rowsOf(logits), SAID_WORDS], { dtype: 'u32' });
  record(graph, {
    kind: 'tokenLogprob',
    scope: graph.scope,
    inputs: { logits, batch: batchTensor(graph) },
    weights: {},
    attrs: {},
    outputs: { said },
  });
  return said;
}
