/** @file `add`: one lane per column. */
import { type KernelVariant, wgslFile } from '../../src/gpu/kernel.ts';
import { rowSize } from '../../src/graph/graph.ts';
import text from './add.wgsl?raw';

export const add: readonly KernelVariant<'add'>[] = [
  {
    name: 'columns',
    when: () => true,
    build(op) {
      const { out } = op.outputs;
      const cols = rowSize(out);
      return {
        body: wgslFile('kernels/elementwise/add.wgsl', text),
        consts: {
          cols,
          a_stride: op.inputs.a.rowStride,
          b_stride: op.inputs.b.rowStride,
          out_stride: out.rowStride,
        },
        bindings: {
          a: { tensor: op.inputs.a, type: 'f32' },
          b: { tensor: op.inputs.b, type: 'f32' },
          out: { tensor: out, type: 'f32', access: 'read_write' },
        },
        grid: (step) => [Math.ceil(cols / 64), step.rows, 1],
      };
    },
  },
];
