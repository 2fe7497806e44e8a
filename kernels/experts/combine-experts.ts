/** @file `combineExperts`: the weighted sum over the slots of a row. */
import { type Binding, type Const, type KernelVariant, wgslFile } from '../../src/gpu/kernel.ts';
import { rowSize } from '../../src/graph/graph.ts';
import text from './combine-experts.wgsl?raw';

const body = wgslFile('kernels/experts/combine-experts.wgsl', text);
const LANES = 64;

export const combineExperts: readonly KernelVariant<'combineExperts'>[] = [
  {
    name: 'vec4',
    // Every slot of x begins at a vec4.
    when: ({ outputs: { out } }) => rowSize(out) % 4 === 0,
    build({ inputs: { x, scales, residual }, outputs: { out } }) {
      const rowVec4s = rowSize(out) / 4;
      const bindings: Record<string, Binding> = {
        x: { tensor: x, type: 'vec4<f32>' },
        scales: { tensor: scales, type: 'f32' },
      };
      const consts: Record<string, Const> = {
        x_offset: x.offset / 4,
        x_stride: x.rowStride / 4,
        scales_offset: scales.offset,
        scales_stride: scales.rowStride,
        out_stride: out.rowStride / 4,
        num_slots: rowSize(scales),
        row_vec4s: rowVec4s,
        num_lanes: LANES,
      };
      if (residual) {
        bindings.residual = { tensor: residual, type: 'vec4<f32>' };
        consts.residual_offset = residual.offset / 4;
        consts.residual_stride = residual.rowStride / 4;
      }
      bindings.out = { tensor: out, type: 'vec4<f32>', access: 'read_write' };
      return {
        body,
        flags: { has_residual: residual !== undefined },
        consts,
        bindings,
        grid: (batch) => [Math.ceil(rowVec4s / LANES), batch.rows, 1],
      };
    },
  },
];
