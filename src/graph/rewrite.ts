/**
 * @file Applies the rules that rewrite a recorded graph: those that fuse ops, and those that lower them to what kernels
 * want. `fuse=0` skips them all.
 */

import { foldCombine, foldGate, foldNorm, foldResidual, prepareHeads } from './fuse.ts';
import { baseOf, type Graph, type Tensor } from './graph.ts';
import { groupByExpert, splitAttention } from './lower.ts';
import { OpList, type Rule } from './op-list.ts';

/** Applied in this order, each over the whole list. */
const rules: readonly Rule[] = [
  prepareHeads,
  foldGate,
  foldCombine,
  foldResidual,
  groupByExpert,
  foldNorm,
  splitAttention,
] as unknown as readonly Rule[];

/** Rewrites the graph's ops in place. `keep`: tensors that the host reads. */
export function rewrite(graph: Graph, keep: readonly Tensor[] = []): void {
  const ops = new OpList(graph, new Set(keep.map(baseOf)));
  for (const rule of rules) {
    for (const op of [...graph.ops]) {
      if (op.kind === rule.kind && graph.ops.includes(op)) rule.apply(op, ops);
    }
  }
}
