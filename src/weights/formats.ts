/**
 * @file The table of weight formats: how the values of a matrix are packed on the GPU, and the WGSL fragment that unpacks
 * a block of them. A new format is one fragment in kernels/weights/ and one row here. It knows no checkpoint and no
 * kernel.
 */

import bf16 from '../../kernels/weights/bf16.wgsl?raw';
import f16 from '../../kernels/weights/f16.wgsl?raw';
import f32 from '../../kernels/weights/f32.wgsl?raw';
import { wgslFile } from '../gpu/kernel.ts';
import type { WeightFormat } from '../graph/graph.ts';

/** A format with one section, where a block is one 16-byte load. */
function plain(name: string, blockSize: number, type: string, text: string, fitsF16: boolean): WeightFormat {
  return {
    name,
    blockSize,
    fragment: wgslFile(`kernels/weights/${name}.wgsl`, text),
    sections: [{ name: 'data', type, rowBytes: (cols) => Math.ceil(cols / blockSize) * 16 }],
    fitsF16,
  };
}

/** By name: the checkpoint's dtype in lower case for plain formats. */
export const formats = {
  bf16: plain('bf16', 8, 'vec4<u32>', bf16, false),
  f16: plain('f16', 8, 'vec4<u32>', f16, true),
  f32: plain('f32', 4, 'vec4<f32>', f32, false),
} satisfies Record<string, WeightFormat>;
