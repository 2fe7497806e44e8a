/** @file The likeliest tokens: a graph of its own, behind a step whose tokens somebody asks about. */
import { createTensor, type OpRecord, record, rowSize, type Tensor } from '../graph.ts';
import { rowsOf } from '../shapes.ts';

/**
 * The `count` largest of each `partSize` entries of a row, as (id, bits of the logit): the largest first, of equal ones the
 * lowest id; the id 0xffffffff where there are fewer finite ones. x: logits f32 [rows, vocab], or what this op gave before,
 * u32 [rows, parts, count, 2]; top u32 [rows, parts, count, 2].
 */
export type TopLogitsOp = OpRecord<
  'topLogits',
  { x: Tensor },
  object,
  { count: number; partSize: number },
  { top: Tensor }
>;

declare module '../graph.ts' {
  interface OpTable {
    topLogits: TopLogitsOp;
  }
}

/** Entries of which one workgroup keeps the best. */
const PART_SIZE = 2048;
/** Words of an entry: an id, and the bits of its logit. */
const ENTRY_WORDS = 2;

/** logits f32 [rows, vocab] -> the `count` largest of each row, u32 [rows, 1, count, 2], as `TopLogitsOp` has them. */
export function topLogits(logits: Tensor, count: number): Tensor {
  const { graph } = logits;
  let x = logits;
  let numEntries = rowSize(logits);
  for (;;) {
    const numParts = Math.ceil(numEntries / PART_SIZE);
    const top = createTensor(graph, [rowsOf(logits), numParts, count, ENTRY_WORDS], { dtype: 'u32' });
    record(graph, {
      kind: 'topLogits',
      scope: graph.scope,
      inputs: { x },
      weights: {},
      attrs: { count, partSize: PART_SIZE },
      outputs: { top },
    });
    if (numParts === 1) return top;
    x = top;
    numEntries = numParts * count;
  }
}
