/** @file The kernels of `rmsNorm`: several short heads to a workgroup, or a workgroup for each long row. */
import {
  type BatchCounts,
  type BuildContext,
  f32,
  type KernelSource,
  type KernelVariant,
  vectorBinding,
  type WgslFile,
  wgslFile,
} from '../../src/gpu/kernel.ts';
import { rowSize } from '../../src/graph/graph.ts';
import type { RmsNormOp } from '../../src/graph/ops/norm.ts';
import { foldGrid } from '../lib/grid.ts';
import { reduceSubgroups, reduceWorkgroup } from '../lib/reduce.ts';
import headsText from './rms-norm-heads.wgsl?raw';
import rowText from './rms-norm-row.wgsl?raw';

const headsBody = wgslFile('kernels/norm/rms-norm-heads.wgsl', headsText);
const rowBody = wgslFile('kernels/norm/rms-norm-row.wgsl', rowText);

/** The longest row for which a few lanes are enough. Several heads to a row are always done so: `graph/ops/norm.ts` makes their length a multiple of 4. */
const MAX_SHORT = 256;
const HEAD_LANES = 8;
const LANES = 64;

const lengthOf = (op: RmsNormOp): number => op.inputs.x.shape.at(-1)!;
/** Rows that are normed: of a pass, or of its sequences' last rows only. */
const rowsOf = (op: RmsNormOp, batch: BatchCounts): number => Math.min(batch.rows, op.inputs.x.shape[0]!);
const isOneRow = (op: RmsNormOp): boolean => rowSize(op.inputs.x) === lengthOf(op);

export const rmsNorm: readonly KernelVariant<'rmsNorm'>[] = [
  {
    name: 'heads',
    when: (op) => !isOneRow(op) || (lengthOf(op) <= MAX_SHORT && lengthOf(op) % 4 === 0),
    build: buildHeads,
  },
  {
    name: 'row-subgroups',
    when: (op, device) => device.subgroups && isOneRow(op),
    build: (op, context) => ({ ...buildRow(op, context, reduceSubgroups), enables: ['subgroups'] }),
  },
  {
    name: 'row',
    when: isOneRow,
    build: (op, context) => buildRow(op, context, reduceWorkgroup),
  },
];

/** What both bodies expect. */
function shared(op: RmsNormOp, { device }: BuildContext): Pick<KernelSource, 'consts' | 'bindings'> {
  const { x } = op.inputs;
  const { out } = op.outputs;
  return {
    consts: {
      x_offset: x.offset / 4,
      x_stride: x.rowStride / 4,
      out_offset: out.offset / 4,
      out_stride: out.rowStride / 4,
      cols: lengthOf(op),
      most_rows: x.shape[0]!,
      grid_width: device.maxGridSize,
      eps: f32(op.attrs.eps),
    },
    bindings: {
      x: { tensor: x, type: 'vec4<f32>' },
      norm: vectorBinding(op.weights.norm),
      out: { tensor: out, type: 'vec4<f32>', access: 'read_write' },
    },
  };
}

function buildHeads(op: RmsNormOp, context: BuildContext): KernelSource {
  const { consts, bindings } = shared(op, context);
  const numHeads = rowSize(op.inputs.x) / lengthOf(op);
  return {
    body: headsBody,
    consts: {
      ...consts,
      num_heads: numHeads,
      num_lanes: LANES,
      head_lanes: HEAD_LANES,
      lane_vec4s: Math.ceil(lengthOf(op) / 4 / HEAD_LANES),
    },
    bindings,
    grid: (batch) =>
      foldGrid(Math.ceil((rowsOf(op, batch) * numHeads * HEAD_LANES) / LANES), context.device.maxGridSize),
  };
}

function buildRow(op: RmsNormOp, context: BuildContext, reduce: WgslFile): KernelSource {
  const { consts, bindings } = shared(op, context);
  return {
    body: rowBody,
    parts: [reduce],
    flags: { ragged: lengthOf(op) % 4 !== 0 },
    consts: { ...consts, num_lanes: lengthOf(op) > 1024 ? 256 : LANES, num_sums: 1 },
    bindings,
    grid: (batch) => foldGrid(rowsOf(op, batch), context.device.maxGridSize),
  };
}
