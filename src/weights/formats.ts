/**
 * @file The table of weight formats: how the values of a matrix are packed on the GPU, and the WGSL fragment that unpacks
 * a block of them. A new format is one fragment in kernels/weights/ and one row here. It knows no checkpoint and no
 * kernel.
 */

import bf16 from '../../kernels/weights/bf16.wgsl?raw';
import f16 from '../../kernels/weights/f16.wgsl?raw';
import f32 from '../../kernels/weights/f32.wgsl?raw';
import fp8 from '../../kernels/weights/fp8.wgsl?raw';
import { wgslFile } from '../gpu/kernel.ts';
import type { WeightFormat } from '../graph/weight.ts';
import { FP8_BLOCK } from './fp8-block.ts';
import { intFormat } from './int-format.ts';

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

/** Every row of every section is a multiple of 16 bytes, so that rows can be copied as whole vec4s. */
const roundUp16 = (bytes: number): number => Math.ceil(bytes / 16) * 16;

/** By name: the checkpoint's dtype in lower case for plain formats. */
export const formats = {
  bf16: plain('bf16', 8, 'vec4<u32>', bf16, false),
  f16: plain('f16', 8, 'vec4<u32>', f16, true),
  f32: plain('f32', 4, 'vec4<f32>', f32, false),
  /**
   * Float8 e4m3 with a scale for each row and 128 columns. Checkpoints have one for 128 rows; giving each row its own costs
   * 3 % of memory (4 bytes to 128), and then rows of any tensors can be stacked or take turns, though their blocks do not line up.
   */
  fp8: {
    name: 'fp8',
    blockSize: 16,
    fragment: wgslFile('kernels/weights/fp8.wgsl', fp8),
    sections: [
      { name: 'data', type: 'vec4<u32>', rowBytes: roundUp16 },
      { name: 'scale', type: 'f32', rowBytes: (cols) => roundUp16(Math.ceil(cols / FP8_BLOCK) * 4) },
    ],
    // An e4m3 is a float16, its product with a scale is not.
    fitsF16: false,
  },
  /** As GPTQ and AWQ publish 4 bits, and MLX 8; int-format.ts has the others. */
  int4: intFormat({ bits: 4, groupSize: 128, words: 'f16-zero' }),
  int8: intFormat({ bits: 8, groupSize: 64, words: 'bf16-bias' }),
} satisfies Record<string, WeightFormat>;
