/** @file The parts that both halves of the sampler share. */
import { wgslFile } from '../../src/gpu/kernel.ts';
import fixedPointText from './fixed-point.wgsl?raw';
import recordsText from './records.wgsl?raw';

export const records = wgslFile('kernels/sample/records.wgsl', recordsText);
export const fixedPoint = wgslFile('kernels/sample/fixed-point.wgsl', fixedPointText);
