/** @file The two ways to add up over the lanes of a workgroup, as parts with the same names. */
import { wgslFile } from '../../src/gpu/kernel.ts';
import subgroups from './reduce-subgroups.wgsl?raw';
import workgroup from './reduce-workgroup.wgsl?raw';

export const reduceSubgroups = wgslFile('kernels/lib/reduce-subgroups.wgsl', subgroups);
export const reduceWorkgroup = wgslFile('kernels/lib/reduce-workgroup.wgsl', workgroup);
