/** @file How the context of a row is cut into splits: split.wgsl, and the same rule for grids and for those who check them. */
import { type BatchCounts, type Const, wgslFile } from '../../src/gpu/kernel.ts';
import type { Splitting } from '../../src/graph/ops/attention.ts';
import splitText from './split.wgsl?raw';

export const splitFile = wgslFile('kernels/attention/split.wgsl', splitText);

/** The constants of split.wgsl. */
export const splitConsts = ({ splitLength, maxSplits, groups }: Splitting): Record<string, Const> => ({
  split_unit: splitLength,
  max_splits: maxSplits,
  split_groups: groups,
});

/** Positions from the first tile of a row that sees up to `context` positions. */
function walked({ splitLength, window }: Splitting, context: number): number {
  const from = window === undefined ? 0 : Math.max(0, context - window);
  return context - Math.floor(from / splitLength) * splitLength;
}

type Filling = Pick<BatchCounts, 'context' | 'workgroups'>;

/** Positions of a split of a row. */
export function splitLengthOf(splitting: Splitting, { context, workgroups }: Filling): number {
  const { splitLength, maxSplits, groups } = splitting;
  const filling = Math.min(maxSplits, Math.max(1, Math.ceil(workgroups / groups)));
  return splitLength * Math.ceil(walked(splitting, context) / (splitLength * filling));
}

/** Splits that a row has. */
export const numSplits = (splitting: Splitting, filling: Filling): number =>
  Math.ceil(walked(splitting, filling.context) / splitLengthOf(splitting, filling));

/** The most splits that a row of a batch may have: a shorter context may have more of them than a longer one, each shorter. */
export function mostSplits(splitting: Splitting, batch: BatchCounts): number {
  if (batch.rows === 1) return numSplits(splitting, batch);
  const { splitLength, maxSplits, groups, window } = splitting;
  const seen = Math.min(batch.context, (window ?? batch.context) + splitLength);
  const filling = Math.min(maxSplits, Math.max(1, Math.ceil(batch.workgroups / groups)));
  return Math.min(filling, Math.ceil(seen / splitLength));
}
