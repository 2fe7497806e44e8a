/** @file `linear` for few rows of x: every weight is read once, by workgroups that each take four weight rows. */
import {
  f32,
  type KernelSource,
  type KernelVariant,
  vectorBinding,
  weightBindings,
  wgslFile,
} from '../../src/gpu/kernel.ts';
import type { LinearOp, WgslFile } from '../../src/graph/graph.ts';
import { foldGrid } from '../lib/grid.ts';
import { reduceSubgroups, reduceWorkgroup } from '../lib/reduce.ts';
import { epilogue, epilogueParts } from './epilogue.ts';
import matvecText from './matvec.wgsl?raw';

const body = wgslFile('kernels/linear/matvec.wgsl', matvecText);

/** Rows of x whose sums a lane can hold in registers. `fuse` folds norms up to the same number. */
const MAX_ROWS = 8;
const WEIGHT_ROWS_PER_GROUP = 4;
/** Enough workgroups to fill any GPU with 64 lanes each; below, more lanes per workgroup keep more loads in flight. */
const MANY_GROUPS = 512;

const hasFewRows = (op: LinearOp): boolean => op.inputs.x.shape[0]! <= MAX_ROWS;

export const matvecVariants: readonly KernelVariant<'linear'>[] = [
  {
    name: 'matvec-subgroups',
    when: (op, device) => device.subgroups && hasFewRows(op),
    build: (op, context) => ({ ...build(op, context, reduceSubgroups), enables: ['subgroups'] }),
  },
  {
    name: 'matvec',
    when: (op) => hasFewRows(op),
    build: (op, context) => build(op, context, reduceWorkgroup),
  },
];

function build(
  op: LinearOp,
  { device, part }: Parameters<KernelVariant<'linear'>['build']>[1],
  reduce: WgslFile,
): KernelSource {
  const { x } = op.inputs;
  const { weight, norm } = op.weights;
  const numRows = x.shape[0]!;
  const numGroups = Math.ceil(part.rows / WEIGHT_ROWS_PER_GROUP);
  const rowBlocks = Math.ceil(weight.cols / weight.format.blockSize);
  const numSums = numRows * (norm ? WEIGHT_ROWS_PER_GROUP + 1 : WEIGHT_ROWS_PER_GROUP);
  const numLanes = lanesFor(rowBlocks, numGroups, numSums);
  const end = epilogue(op, part);
  const grid = foldGrid(numGroups, device.maxGridSize);
  return {
    body,
    parts: [weight.format.fragment, reduce, ...epilogueParts],
    flags: {
      ...end.flags,
      norm: norm !== undefined,
      ragged: weight.cols % weight.format.blockSize !== 0,
    },
    consts: {
      ...end.consts,
      num_rows: numRows,
      num_lanes: numLanes,
      num_sums: numSums,
      x_offset: x.offset / 4,
      x_stride: x.rowStride / 4,
      weight_rows: part.rows,
      weight_row_blocks: rowBlocks,
      cols: weight.cols,
      grid_width: device.maxGridSize,
      eps: f32(op.attrs.eps),
    },
    aliases: end.aliases,
    bindings: {
      x: { tensor: x, type: 'vec4<f32>' },
      ...weightBindings(weight),
      ...(norm && { norm: vectorBinding(norm) }),
      ...end.bindings,
    },
    grid: () => grid,
  };
}

/** Workgroup memory that every device has. */
const WORKGROUP_BYTES = 16384;

/** A power of two from 32 to 128: no more lanes than blocks to load, and no more than workgroup memory has room to add up. */
function lanesFor(rowBlocks: number, numGroups: number, numSums: number): number {
  let lanes = numGroups >= MANY_GROUPS ? 64 : 128;
  while (lanes > 32 && (lanes / 2 >= rowBlocks || lanes * numSums * 4 > WORKGROUP_BYTES)) lanes /= 2;
  return lanes;
}
