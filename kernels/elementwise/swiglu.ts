/** @file `swiglu`: one lane per column. */
import { type KernelVariant, wgslFile } from '../../src/gpu/kernel.ts';
import { rowSize } from '../../src/graph/graph.ts';
import text from './swiglu.wgsl?raw';

export const swiglu: readonly KernelVariant<'swiglu'>[] = [
  {
    name: 'columns',
    when: () => true,
    build(op) {
      const { out } = op.outputs;
      const cols = rowSize(out);
      return {
        body: wgslFile('kernels/elementwise/swiglu.wgsl', text),
        consts: { cols, x_stride: op.inputs.x.rowStride, out_stride: out.rowStride },
        bindings: {
          x: { tensor: op.inputs.x, type: 'f32' },
          out: { tensor: out, type: 'f32', access: 'read_write' },
        },
        grid: (step) => [Math.ceil(cols / 64), step.rows, 1],
      };
    },
  },
];
