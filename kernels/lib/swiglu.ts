/** @file swiglu as a part, for the kernel of that name and for the epilogue of `linear`. */
import { wgslFile } from '../../src/gpu/kernel.ts';
import text from './swiglu.wgsl?raw';

export const swigluFile = wgslFile('kernels/lib/swiglu.wgsl', text);
