/** @file How a step cuts its context into splits: split.wgsl, and the same rule for grids. */
import { type Const, type Step, wgslFile } from '../../src/gpu/kernel.ts';
import splitText from './split.wgsl?raw';

interface Splitting {
  readonly splitLength: number;
  readonly maxSplits: number;
}

export const splitFile = wgslFile('kernels/attention/split.wgsl', splitText);

/** The constants of split.wgsl. */
export const splitConsts = ({ splitLength, maxSplits }: Splitting): Record<string, Const> => ({
  split_unit: splitLength,
  max_splits: maxSplits,
});

/** Splits that a step has. */
export function numSplits({ splitLength, maxSplits }: Splitting, { position, rows }: Step): number {
  const context = position + rows;
  const length = splitLength * Math.max(1, Math.ceil(context / (splitLength * maxSplits)));
  return Math.ceil(context / length);
}
