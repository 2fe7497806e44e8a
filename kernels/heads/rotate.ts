/** @file The rotation of head units as a part of kernels, and what its WGSL needs. */
import { type Const, wgslFile } from '../../src/gpu/kernel.ts';
import type { Tensor } from '../../src/graph/graph.ts';
import type { RopePairing } from '../../src/graph/ops/heads.ts';
import rotateText from './rotate.wgsl?raw';

const rotate = wgslFile('kernels/heads/rotate.wgsl', rotateText);

/** The part, flags and constants of rotate.wgsl, for rotary tables [rows, 2 * half] in the batch's table. */
export function rotation(
  angles: Tensor,
  pairing: RopePairing,
): {
  part: typeof rotate;
  flags: Record<string, boolean>;
  consts: Record<string, Const>;
} {
  return {
    part: rotate,
    flags: { half_pairing: pairing === 'half' },
    consts: {
      half: angles.shape[1]! / 2,
      angles_offset: angles.offset,
    },
  };
}
