/**
 * @file Integer formats: 4 or 8 bits to a value, and a 32-bit word for each row and group of columns that makes values of them.
 * Few of these hold every published layout exactly. It knows no checkpoint and no kernel.
 */

import int4 from '../../kernels/weights/int4.wgsl?raw';
import int4AnyGroup from '../../kernels/weights/int4-any-group.wgsl?raw';
import int8 from '../../kernels/weights/int8.wgsl?raw';
import int8AnyGroup from '../../kernels/weights/int8-any-group.wgsl?raw';
import minusZero from '../../kernels/weights/minus-zero.wgsl?raw';
import plusBias from '../../kernels/weights/plus-bias.wgsl?raw';
import scaleBf16 from '../../kernels/weights/scale-bf16.wgsl?raw';
import scaleF16 from '../../kernels/weights/scale-f16.wgsl?raw';
import scaleF32 from '../../kernels/weights/scale-f32.wgsl?raw';
import { wgslFile } from '../gpu/kernel.ts';
import type { WeightFormat } from '../graph/weight.ts';

/**
 * What a scale word holds. With a zero point: weight = (q - zero) * scale; with a bias: weight = q * scale + bias; both
 * halves of a word are of the type named. `f32`: weight = (q - middle of the range) * scale.
 */
export type ScaleWords = 'f16-zero' | 'bf16-zero' | 'f16-bias' | 'bf16-bias' | 'f32';

export interface IntLayout {
  readonly bits: 4 | 8;
  /** Columns that share a scale word, a multiple of 32 (4 bits) or 16; undefined: all columns of a row. */
  readonly groupSize: number | undefined;
  readonly words: ScaleWords;
  /**
   * Columns belong to groups in any order, told by a byte for each column and row behind the values: 12 bits to a weight of 4, and
   * 16 to one of 8. What that buys: tensors with orders of their own can be stacked and take turns like any others.
   */
  readonly anyGroup?: boolean;
}

/** Groups that a byte can tell apart. */
export const MAX_ANY_GROUPS = 256;

const SCALES: Readonly<Record<ScaleWords, string>> = {
  'f16-zero': scaleF16 + minusZero,
  'bf16-zero': scaleBf16 + minusZero,
  'f16-bias': scaleF16 + plusBias,
  'bf16-bias': scaleBf16 + plusBias,
  f32: scaleF32 + minusZero,
};
/** More blocks than a row has. */
const WHOLE_ROW = 2 ** 24;

const known = new Map<string, WeightFormat>();

/** The format of a layout: the same layout is the same object. */
export function intFormat({ bits, groupSize, words, anyGroup = false }: IntLayout): WeightFormat {
  const file = `int${bits}${anyGroup ? '-any-group' : ''}`;
  const name = `${file}-${groupSize ?? 'row'}-${words}`;
  const found = known.get(name);
  if (found) return found;
  const blockSize = 128 / bits;
  const rowBlocks = (cols: number): number => Math.ceil(cols / blockSize);
  const groupBlocks = groupSize === undefined ? WHOLE_ROW : groupSize / blockSize;
  const text = bits === 4 ? (anyGroup ? int4AnyGroup : int4) : anyGroup ? int8AnyGroup : int8;
  const consts = `const group_blocks: u32 = ${groupBlocks}u;\nconst middle: f32 = ${2 ** (bits - 1)}.0;\n`;
  const format: WeightFormat = {
    name,
    blockSize,
    // The block's own file stands first, so that messages about it name the right line.
    fragment: wgslFile(`kernels/weights/${file}.wgsl`, text + SCALES[words] + consts),
    sections: [
      {
        name: 'data',
        type: 'vec4<u32>',
        rowBytes: (cols) => rowBlocks(cols) * (anyGroup ? 16 + blockSize : 16),
      },
      { name: 'scale', type: 'u32', rowBytes: (cols) => Math.ceil(rowBlocks(cols) / groupBlocks / 4) * 16 },
    ],
    fitsF16: false,
  };
  known.set(name, format);
  return format;
}
