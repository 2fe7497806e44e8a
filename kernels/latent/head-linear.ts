/** @file `headLinear`: a matrix of its own for each head, by the kernels of `linear`. */
import { type KernelVariant, type WeightPart, wgslFile } from '../../src/gpu/kernel.ts';
import { rowSize } from '../../src/graph/graph.ts';
import type { HeadLinearOp } from '../../src/graph/ops/latent.ts';
import { MAX_MATVEC_ROWS, matvec, matvecSubgroups } from '../linear/matvec.ts';
import type { Product } from '../linear/product.ts';
import { fillsLargeTiles, fitsF16, inF16, largeTile, smallTile, tile } from '../linear/tile.ts';
import headMatrixText from './head-matrix.wgsl?raw';

const headMatrix = wgslFile('kernels/latent/head-matrix.wgsl', headMatrixText);

const headsOf = (op: HeadLinearOp): number => op.inputs.x.shape[1]!;
const hasFewRows = (op: HeadLinearOp): boolean => op.inputs.x.shape[0]! <= MAX_MATVEC_ROWS;
const isLarge = (op: HeadLinearOp): boolean =>
  fillsLargeTiles(op.inputs.x.shape[0]!, op.attrs.numRows, headsOf(op));

export const headLinear: readonly KernelVariant<'headLinear'>[] = [
  {
    name: 'matvec-subgroups',
    when: (op, device) => device.subgroups && hasFewRows(op),
    build: (op, { device, part }) => matvecSubgroups(productOf(op, part), device),
  },
  {
    name: 'matvec',
    when: hasFewRows,
    build: (op, { device, part }) => matvec(productOf(op, part), device),
  },
  {
    name: 'tile-large-f16',
    when: (op, device) => isLarge(op) && fitsF16(op.weights.weight, device),
    build: (op, { part }) => inF16(tile(productOf(op, part), largeTile)),
  },
  {
    name: 'tile-large',
    when: isLarge,
    build: (op, { part }) => tile(productOf(op, part), largeTile),
  },
  {
    name: 'tile-small-f16',
    when: (op, device) => fitsF16(op.weights.weight, device),
    build: (op, { part }) => inF16(tile(productOf(op, part), smallTile)),
  },
  {
    name: 'tile-small',
    when: () => true,
    build: (op, { part }) => tile(productOf(op, part), smallTile),
  },
];

function productOf(op: HeadLinearOp, part: WeightPart): Product {
  const { x } = op.inputs;
  const { weight } = op.weights;
  const partHeads = part.rows / weight.unitRows;
  return {
    x,
    weight,
    eps: 0,
    matrixRows: op.attrs.numRows,
    numMatrices: () => partHeads,
    numRows: x.shape[0]!,
    matrixParts: [headMatrix],
    consts: {
      part_head: part.begin / weight.unitRows,
      part_heads: partHeads,
      unit_rows: weight.unitRows,
      first_row: op.attrs.firstRow,
      x_offset: x.offset / 4,
      x_head_vec4s: x.shape[2]! / 4,
      out_head_columns: rowSize(op.outputs.out) / headsOf(op),
    },
    ending: { out: op.outputs.out },
  };
}
