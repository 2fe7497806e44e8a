/** @file The sigmoid as a part. */
import { wgslFile } from '../../src/gpu/kernel.ts';
import text from './sigmoid.wgsl?raw';

export const sigmoidFile = wgslFile('kernels/lib/sigmoid.wgsl', text);
