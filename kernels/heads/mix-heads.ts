/** @file `mixHeads`: the Walsh-Hadamard transform of heads, and its WGSL as a part of kernels. */
import { type Const, f32, type KernelVariant, wgslFile } from '../../src/gpu/kernel.ts';
import mixText from './mix.wgsl?raw';
import mixHeadsText from './mix-heads.wgsl?raw';

const body = wgslFile('kernels/heads/mix-heads.wgsl', mixHeadsText);
const part = wgslFile('kernels/heads/mix.wgsl', mixText);

/** The part and constants of mix.wgsl, for heads of `headDim` values. */
export function mixing(headDim: number): { part: typeof part; consts: Record<string, Const> } {
  return { part, consts: { mix_dim: headDim, mix_scale: f32(headDim ** -0.5) } };
}

export const mixHeads: readonly KernelVariant<'mixHeads'>[] = [
  {
    name: 'lanes',
    when: ({ inputs: { x } }, device) => x.shape[2]! / 4 <= device.maxWorkgroupInvocations,
    build(op) {
      const { x } = op.inputs;
      const { out } = op.outputs;
      const [, numHeads, headDim] = x.shape as [number, number, number];
      const lanes = headDim / 4;
      const threads = Math.max(64, lanes);
      const mixed = mixing(headDim);
      return {
        body,
        parts: [mixed.part],
        consts: {
          ...mixed.consts,
          threads,
          lanes,
          num_heads: numHeads,
          x_offset: x.offset / 2,
          x_stride: x.rowStride / 2,
          out_offset: out.offset / 2,
          out_stride: out.rowStride / 2,
        },
        bindings: {
          x: { tensor: x, type: 'vec2<f32>' },
          out: { tensor: out, type: 'vec2<f32>', access: 'read_write' },
        },
        grid: (batch) => [Math.ceil((numHeads * lanes) / threads), batch.rows, 1],
      };
    },
  },
];
