/** @file Numbers as u32 keys that compare like them, as a part: for atomics, and for comparisons that must survive NaN. */
import { wgslFile } from '../../src/gpu/kernel.ts';
import text from './ordered-key.wgsl?raw';

export const orderedKey = wgslFile('kernels/lib/ordered-key.wgsl', text);
