/** @file The parts that both halves of the sampler share. */
import { type Grid, type Step, wgslFile } from '../../src/gpu/kernel.ts';
import fixedPointText from './fixed-point.wgsl?raw';
import recordsText from './records.wgsl?raw';

export const records = wgslFile('kernels/sample/records.wgsl', recordsText);
export const fixedPoint = wgslFile('kernels/sample/fixed-point.wgsl', fixedPointText);

/**
 * `groups` workgroups for the row of a step, none when the step has no such row. The depth tells the kernel its row (and all
 * groups but the deepest return at once), so that one pipeline serves all rows.
 */
export const gridOf =
  (groups: number, row = 0) =>
  ({ rows }: Step): Grid =>
    row < rows ? [groups, 1, row + 1] : [0, 1, 1];
