/** @file The kernels of `add`, `swiglu`, `sigmoidGate` and `lastRow`: an invocation per vec4 of the output. */
import {
  type Const,
  type Grid,
  type KernelVariant,
  type Step,
  type TensorBinding,
  wgslFile,
} from '../../src/gpu/kernel.ts';
import { rowSize, type Tensor } from '../../src/graph/graph.ts';
import { sigmoidFile } from '../lib/sigmoid.ts';
import { swigluFile } from '../lib/swiglu.ts';
import addText from './add.wgsl?raw';
import lastRowText from './last-row.wgsl?raw';
import sigmoidGateText from './sigmoid-gate.wgsl?raw';
import swigluText from './swiglu.wgsl?raw';

const LANES = 64;
const rowVec4s = (t: Tensor): number => Math.ceil(rowSize(t) / 4);
const reads = (tensor: Tensor): TensorBinding => ({ tensor, type: 'vec4<f32>' });
const writes = (tensor: Tensor): TensorBinding => ({ ...reads(tensor), access: 'read_write' });

/** Where the rows of a tensor are, in vec4s, as constants `<name>_offset` and `<name>_stride`. */
const rowsOf = (name: string, t: Tensor): Record<string, Const> => ({
  [`${name}_offset`]: t.offset / 4,
  [`${name}_stride`]: t.rowStride / 4,
});

const perRow =
  (out: Tensor) =>
  (step: Step): Grid => [Math.ceil(rowVec4s(out) / LANES), step.rows, 1];

export const add: readonly KernelVariant<'add'>[] = [
  {
    name: 'vec4',
    when: () => true,
    build({ inputs: { a, b }, outputs: { out } }) {
      return {
        body: wgslFile('kernels/elementwise/add.wgsl', addText),
        consts: {
          ...rowsOf('a', a),
          ...rowsOf('b', b),
          ...rowsOf('out', out),
          row_vec4s: rowVec4s(out),
          num_lanes: LANES,
        },
        bindings: { a: reads(a), b: reads(b), out: writes(out) },
        grid: perRow(out),
      };
    },
  },
];

export const swiglu: readonly KernelVariant<'swiglu'>[] = [
  {
    name: 'vec4',
    when: () => true,
    build({ inputs: { x }, outputs: { out } }) {
      return {
        body: wgslFile('kernels/elementwise/swiglu.wgsl', swigluText),
        parts: [swigluFile],
        consts: { ...rowsOf('x', x), ...rowsOf('out', out), row_vec4s: rowVec4s(out), num_lanes: LANES },
        bindings: { x: reads(x), out: writes(out) },
        grid: perRow(out),
      };
    },
  },
];

export const sigmoidGate: readonly KernelVariant<'sigmoidGate'>[] = [
  {
    name: 'vec4',
    when: () => true,
    build({ inputs: { x, gate }, outputs: { out } }) {
      return {
        body: wgslFile('kernels/elementwise/sigmoid-gate.wgsl', sigmoidGateText),
        parts: [sigmoidFile],
        consts: {
          ...rowsOf('x', x),
          ...rowsOf('out', out),
          gate_offset: gate.offset,
          gate_stride: gate.rowStride,
          row_vec4s: rowVec4s(out),
          num_lanes: LANES,
        },
        bindings: { x: reads(x), gate: { tensor: gate, type: 'f32' }, out: writes(out) },
        grid: perRow(out),
      };
    },
  },
];

export const lastRow: readonly KernelVariant<'lastRow'>[] = [
  {
    name: 'vec4',
    when: () => true,
    build({ inputs: { x }, outputs: { out } }) {
      return {
        body: wgslFile('kernels/elementwise/last-row.wgsl', lastRowText),
        consts: { ...rowsOf('x', x), row_vec4s: rowVec4s(out), num_lanes: LANES },
        bindings: { x: reads(x), out: writes(out) },
        grid: () => [Math.ceil(rowVec4s(out) / LANES), 1, 1],
      };
    },
  },
];
