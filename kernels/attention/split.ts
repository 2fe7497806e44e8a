/** @file How a step cuts its context into splits: split.wgsl, and the same rule for grids and for those who check them. */
import { type Const, type Step, wgslFile } from '../../src/gpu/kernel.ts';
import type { Splitting } from '../../src/graph/ops/attention.ts';
import splitText from './split.wgsl?raw';

export const splitFile = wgslFile('kernels/attention/split.wgsl', splitText);

/** The constants of split.wgsl. */
export const splitConsts = ({ splitLength, maxSplits, groups }: Splitting): Record<string, Const> => ({
  split_unit: splitLength,
  max_splits: maxSplits,
  split_groups: groups,
});

/** Positions of a split of a step. */
export function splitLengthOf({ splitLength, maxSplits, groups }: Splitting, step: Step): number {
  const filling = Math.min(maxSplits, Math.max(1, Math.ceil(step.workgroups / groups)));
  return splitLength * Math.ceil((step.position + step.rows) / (splitLength * filling));
}

/** Splits that a step has. */
export const numSplits = (splitting: Splitting, step: Step): number =>
  Math.ceil((step.position + step.rows) / splitLengthOf(splitting, step));
