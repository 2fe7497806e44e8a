/** @file `rope`: one lane for every four values of a head. */
import { type KernelVariant, wgslFile } from '../../src/gpu/kernel.ts';
import { baseOf } from '../../src/graph/graph.ts';
import { batchRows } from '../lib/rows.ts';
import ropeText from './rope.wgsl?raw';
import { rotation } from './rotate.ts';

const body = wgslFile('kernels/heads/rope.wgsl', ropeText);

export const rope: readonly KernelVariant<'rope'>[] = [
  {
    name: 'units',
    when: () => true,
    build(op) {
      const { x, angles } = op.inputs;
      const { out } = op.outputs;
      const [, numHeads, headDim] = x.shape as [number, number, number];
      const rotated = rotation(angles, op.attrs.pairing);
      const rows = batchRows(baseOf(angles));
      const numGroups = Math.ceil((numHeads * headDim) / 4 / 64);
      return {
        body,
        parts: [rows.part, rotated.part],
        flags: rotated.flags,
        consts: {
          ...rows.consts,
          ...rotated.consts,
          num_heads: numHeads,
          units: headDim / 4,
          x_offset: x.offset / 2,
          x_stride: x.rowStride / 2,
          out_offset: out.offset / 2,
          out_stride: out.rowStride / 2,
        },
        bindings: {
          x: { tensor: x, type: 'vec2<f32>' },
          batch_table: rows.binding,
          out: { tensor: out, type: 'vec2<f32>', access: 'read_write' },
        },
        grid: (batch) => [numGroups, batch.rows, 1],
      };
    },
  },
];
