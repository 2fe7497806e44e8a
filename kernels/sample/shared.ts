/** @file What both halves of the sampler share: parts, and which rows of the batch they look at. */
import { type BatchCounts, type Const, type Grid, wgslFile } from '../../src/gpu/kernel.ts';
import type { SampledRows } from '../../src/graph/ops/sample.ts';
import fixedPointText from './fixed-point.wgsl?raw';
import recordsText from './records.wgsl?raw';
import sampledRowsText from './sampled-rows.wgsl?raw';

export const records = wgslFile('kernels/sample/records.wgsl', recordsText);
export const fixedPoint = wgslFile('kernels/sample/fixed-point.wgsl', fixedPointText);
export const sampledRows = wgslFile('kernels/sample/sampled-rows.wgsl', sampledRowsText);

/** The flags of sampled-rows.wgsl. */
export const rowFlags = ({ logits }: SampledRows): Record<string, boolean> => ({
  is_last: logits === 'last',
});

/** Where the sampler's tensors of a slot are, in elements as bound. */
export const slotConsts = (strides: Readonly<Record<string, number>>): Record<string, Const> =>
  Object.fromEntries(Object.entries(strides).map(([name, stride]) => [`${name}_slot`, stride]));

/**
 * `groups` workgroups for each sequence, none when no sequence has a row in this round. The depth tells the kernel its round (and
 * all groups but the deepest return at once), so that one pipeline serves all rounds.
 */
export const gridOf =
  (groups: number, { round }: SampledRows) =>
  ({ sequences, rounds }: BatchCounts): Grid =>
    round < rounds ? [groups, sequences, round + 1] : [0, 1, 1];
