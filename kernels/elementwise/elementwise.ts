/** @file The kernels of `add`, `gate`, `sigmoidGate` and `lastRow`: an invocation per vec4 of the output. */
import {
  type BatchCounts,
  type Const,
  type Grid,
  type KernelVariant,
  type TensorBinding,
  wgslFile,
} from '../../src/gpu/kernel.ts';
import { rowSize, type Tensor } from '../../src/graph/graph.ts';
import { activationFiles } from '../lib/activation.ts';
import { batchRows } from '../lib/rows.ts';
import { sigmoidFile } from '../lib/sigmoid.ts';
import addText from './add.wgsl?raw';
import gateText from './gate.wgsl?raw';
import lastRowText from './last-row.wgsl?raw';
import sigmoidGateText from './sigmoid-gate.wgsl?raw';

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
  (batch: BatchCounts): Grid => [Math.ceil(rowVec4s(out) / LANES), batch.rows, 1];

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

export const gate: readonly KernelVariant<'gate'>[] = [
  {
    name: 'vec4',
    when: () => true,
    build({ inputs: { x, up }, attrs: { activation }, outputs: { out } }) {
      return {
        body: wgslFile('kernels/elementwise/gate.wgsl', gateText),
        parts: [activationFiles[activation]],
        flags: { apart: up !== undefined },
        consts: {
          ...rowsOf('x', x),
          ...(up && rowsOf('up', up)),
          ...rowsOf('out', out),
          row_vec4s: rowVec4s(out),
          num_lanes: LANES,
        },
        bindings: { x: reads(x), ...(up && { up: reads(up) }), out: writes(out) },
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
    build({ inputs: { x, batch }, outputs: { out } }) {
      const rows = batchRows(batch);
      return {
        body: wgslFile('kernels/elementwise/last-row.wgsl', lastRowText),
        parts: [rows.part],
        consts: {
          ...rows.consts,
          ...rowsOf('x', x),
          out_stride: out.rowStride / 4,
          row_vec4s: rowVec4s(out),
          num_lanes: LANES,
        },
        bindings: { batch_table: rows.binding, x: reads(x), out: writes(out) },
        grid: (counts) => [Math.ceil(rowVec4s(out) / LANES), counts.sequences, 1],
      };
    },
  },
];
