/** @file `linear` for few rows of x: every weight is read once, by workgroups that each take four weight rows. */
import {
  type DeviceTraits,
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
import { linearProduct, matrixFile, type Product } from './product.ts';

const body = wgslFile('kernels/linear/matvec.wgsl', matvecText);

/** Rows of x whose sums a lane can hold in registers. `fuse` folds norms up to the same number. */
export const MAX_MATVEC_ROWS = 8;
/** Rows of a matrix that a workgroup takes. */
export const GROUP_ROWS = 4;
/** Enough workgroups to fill any GPU with 64 lanes each; below, more lanes per workgroup keep more loads in flight. */
const MANY_GROUPS = 512;

const hasFewRows = (op: LinearOp): boolean => op.inputs.x.shape[0]! <= MAX_MATVEC_ROWS;

export const matvecVariants: readonly KernelVariant<'linear'>[] = [
  {
    name: 'matvec-subgroups',
    when: (op, device) => device.subgroups && hasFewRows(op),
    build: (op, { device, part }) => matvecSubgroups(linearProduct(op, part), device),
  },
  {
    name: 'matvec',
    when: (op) => hasFewRows(op),
    build: (op, { device, part }) => matvec(linearProduct(op, part), device),
  },
];

/** The kernel for devices with subgroups. */
export const matvecSubgroups = (product: Product, device: DeviceTraits): KernelSource => ({
  ...matvec(product, device, reduceSubgroups),
  enables: ['subgroups'],
});

/** A workgroup for every GROUP_ROWS rows of every matrix; at most MAX_MATVEC_ROWS rows of x go through one. */
export function matvec(
  product: Product,
  device: DeviceTraits,
  reduce: WgslFile = reduceWorkgroup,
): KernelSource {
  const { x, weight, norm, numRows, matrixRows } = product;
  const matrixGroups = Math.ceil(matrixRows / GROUP_ROWS);
  const numGroups = matrixGroups * product.numMatrices({ rows: x.shape[0]! });
  const rowBlocks = Math.ceil(weight.cols / weight.format.blockSize);
  const numSums = numRows * (norm ? GROUP_ROWS + 1 : GROUP_ROWS);
  const end = epilogue(product.ending);
  return {
    body,
    parts: [weight.format.fragment, reduce, ...epilogueParts, matrixFile, ...product.matrixParts],
    flags: {
      ...end.flags,
      norm: norm !== undefined,
      ragged: weight.cols % weight.format.blockSize !== 0,
    },
    consts: {
      ...end.consts,
      ...product.consts,
      matrix_rows: matrixRows,
      num_rows: numRows,
      num_lanes: lanesFor(rowBlocks, numGroups, numSums),
      num_sums: numSums,
      x_stride: x.rowStride / 4,
      weight_row_blocks: rowBlocks,
      cols: weight.cols,
      grid_width: device.maxGridSize,
      eps: f32(product.eps),
    },
    aliases: end.aliases,
    bindings: {
      x: { tensor: x, type: 'vec4<f32>' },
      ...weightBindings(weight),
      ...(norm && { norm: vectorBinding(norm) }),
      ...product.bindings,
      ...end.bindings,
    },
    grid: (step) => foldGrid(matrixGroups * product.numMatrices(step), device.maxGridSize),
  };
}

/** Workgroup memory that every device has. */
const WORKGROUP_BYTES = 16384;

/** A power of two from 32 to 128: no more lanes than blocks to load, and no more than workgroup memory has room to add up. */
export function lanesFor(numBlocks: number, numGroups: number, numSums: number): number {
  let lanes = numGroups >= MANY_GROUPS ? 64 : 128;
  while (lanes > 32 && (lanes / 2 >= numBlocks || lanes * numSums * 4 > WORKGROUP_BYTES)) lanes /= 2;
  return lanes;
}
