/** @file The kernels of `expertLinear`: matvec from the chosen experts for few rows, grouped tiles for many. */
import {
  type Const,
  type DeviceTraits,
  type KernelSource,
  type KernelVariant,
  type TensorBinding,
  type WeightPart,
  type WgslFile,
  weightBindings,
  wgslFile,
} from '../../src/gpu/kernel.ts';
import { rowSize, type Tensor } from '../../src/graph/graph.ts';
import type { EntryTiles, ExpertLinearOp } from '../../src/graph/ops/experts.ts';
import { foldGrid } from '../lib/grid.ts';
import { reduceSubgroups, reduceWorkgroup, wavesPart } from '../lib/reduce.ts';
import { epilogue } from '../linear/epilogue.ts';
import { GROUP_ROWS, lanesFor, matvec, matvecSubgroups, matvecWaves, waveShape } from '../linear/matvec.ts';
import type { Product } from '../linear/product.ts';
import { fitsF16, inF16, type TileShape, tileSource } from '../linear/tile.ts';
import chosenExpertText from './chosen-expert.wgsl?raw';
import expertMatrixText from './expert-matrix.wgsl?raw';
import expertSumText from './expert-sum.wgsl?raw';
import tileEntriesText from './tile-entries.wgsl?raw';

const chosenExpert = wgslFile('kernels/experts/chosen-expert.wgsl', chosenExpertText);
const expertMatrix = wgslFile('kernels/experts/expert-matrix.wgsl', expertMatrixText);
const expertSum = wgslFile('kernels/experts/expert-sum.wgsl', expertSumText);
const tileEntries = wgslFile('kernels/experts/tile-entries.wgsl', tileEntriesText);

/** Threads of a tile each way. */
const TILE_THREADS = 8;

export const expertLinear: readonly KernelVariant<'expertLinear'>[] = [
  {
    name: 'sum-waves',
    when: (op, device) => device.subgroups && isSum(op),
    build: (op, { device, part }) => sumWaves(op, part, device),
  },
  {
    name: 'sum-subgroups',
    when: (op, device) => device.subgroups && isSum(op),
    build: (op, { device, part }) => ({
      ...sumTeams(op, part, device, reduceSubgroups),
      enables: ['subgroups'],
    }),
  },
  {
    name: 'sum',
    when: isSum,
    build: (op, { device, part }) => sumTeams(op, part, device, reduceWorkgroup),
  },
  {
    name: 'tile-f16',
    when: (op, device) => groupsOf(op) !== undefined && fitsF16(op.weights.weight, device),
    build: (op, { part }) => inF16(tile(op, part)),
  },
  {
    name: 'tile',
    when: (op) => groupsOf(op) !== undefined,
    build: (op, { part }) => tile(op, part),
  },
  {
    name: 'matvec-waves',
    when: (op, device) => device.subgroups && isByEntry(op),
    build: (op, { device, part }) => matvecWaves(productOf(op, part), device),
  },
  {
    name: 'matvec-subgroups',
    when: (op, device) => device.subgroups && isByEntry(op),
    build: (op, { device, part }) => matvecSubgroups(productOf(op, part), device),
  },
  {
    name: 'matvec',
    when: isByEntry,
    build: (op, { device, part }) => matvec(productOf(op, part), device),
  },
];

/** Each entry has an output row of its own. */
function isByEntry(op: ExpertLinearOp): boolean {
  return op.inputs.scales === undefined;
}

/** A row's experts are added up as they are computed. Squares for a norm would be added up once for every slot. */
function isSum(op: ExpertLinearOp): boolean {
  return op.inputs.scales !== undefined && op.weights.norm === undefined && op.attrs.gate === undefined;
}

interface Groups extends EntryTiles {
  readonly entries: Tensor;
  readonly tiles: Tensor;
  readonly dispatch: Tensor;
}

/** What tiles need, if the op was recorded with it. A folded norm needs every row of x whole, which a tile never has. */
function groupsOf(op: ExpertLinearOp): Groups | undefined {
  const { entries, tiles, dispatch } = op.inputs;
  const { tile } = op.attrs;
  if (!entries || !tiles || !dispatch || !tile || !isByEntry(op) || op.weights.norm) return undefined;
  return { entries, tiles, dispatch, ...tile };
}

/** Where the experts of the bound part and the slots of x are. */
function constsOf(op: ExpertLinearOp, part: WeightPart): Record<string, Const> {
  const { x, experts } = op.inputs;
  const { weight } = op.weights;
  return {
    first_expert: part.begin / weight.unitRows,
    part_experts: part.rows / weight.unitRows,
    num_slots: rowSize(experts),
    x_offset: x.offset / 4,
    x_slot_stride: x.shape.length === 2 ? 0 : weight.cols / 4,
  };
}

/** Constants and binding of chosen-expert.wgsl. */
function chosenOf({ inputs: { experts } }: ExpertLinearOp): {
  consts: Record<string, Const>;
  bindings: Record<string, TensorBinding>;
} {
  return {
    consts: { experts_offset: experts.offset, experts_stride: experts.rowStride },
    bindings: { experts: { tensor: experts, type: 'u32' } },
  };
}

function productOf(op: ExpertLinearOp, part: WeightPart): Product {
  const { x, experts } = op.inputs;
  const { weight, norm } = op.weights;
  const chosen = chosenOf(op);
  return {
    x,
    weight,
    norm,
    eps: op.attrs.eps,
    matrixRows: weight.unitRows,
    numMatrices: (batch) => batch.rows * rowSize(experts),
    numRows: 1,
    matrixParts: [chosenExpert, expertMatrix],
    consts: { ...constsOf(op, part), ...chosen.consts },
    bindings: chosen.bindings,
    ending: { out: op.outputs.out, gate: op.attrs.gate },
  };
}

function tile(op: ExpertLinearOp, part: WeightPart): KernelSource {
  const { weight } = op.weights;
  const { entries, tiles, dispatch, tileRows, tileCols } = groupsOf(op)!;
  const shape: TileShape = {
    rowThreads: TILE_THREADS,
    colThreads: TILE_THREADS,
    threadRows: tileRows / TILE_THREADS,
    threadCol4s: tileCols / TILE_THREADS / 4,
  };
  return tileSource(
    {
      x: op.inputs.x,
      weight,
      matrixRows: weight.unitRows,
      rowParts: [tileEntries],
      consts: constsOf(op, part),
      bindings: {
        entries: { tensor: entries, type: 'u32' },
        tiles: { tensor: tiles, type: 'vec4<u32>' },
      },
      ending: { out: op.outputs.out, gate: op.attrs.gate },
      grid: dispatch,
    },
    shape,
  );
}

/** A workgroup for every GROUP_ROWS rows. */
function sumTeams(
  op: ExpertLinearOp,
  part: WeightPart,
  device: DeviceTraits,
  reduce: WgslFile,
): KernelSource {
  const { weight } = op.weights;
  const numPairs = Math.ceil(weight.cols / weight.format.blockSize) * rowSize(op.inputs.experts);
  const numGroups = weight.unitRows / GROUP_ROWS;
  const consts = { num_lanes: lanesFor(numPairs, numGroups, GROUP_ROWS), num_sums: GROUP_ROWS };
  return sum(op, part, device, { reduce, groupRows: GROUP_ROWS, areWaves: false, consts });
}

/** A subgroup for every GROUP_ROWS rows. */
function sumWaves(op: ExpertLinearOp, part: WeightPart, device: DeviceTraits): KernelSource {
  const shape = { reduce: wavesPart, areWaves: true, ...waveShape(device, 1) };
  return { ...sum(op, part, device, shape), enables: ['subgroups'] };
}

/** The dispatch of the first part writes, those of later parts add to it. */
function sum(
  op: ExpertLinearOp,
  part: WeightPart,
  device: DeviceTraits,
  shape: { reduce: WgslFile; groupRows: number; areWaves: boolean; consts: Record<string, Const> },
): KernelSource {
  const { x, scales, residual } = op.inputs;
  const { weight } = op.weights;
  const { blockSize, fragment } = weight.format;
  const isFirst = part.index === 0;
  const end = epilogue({
    out: op.outputs.out,
    residual: isFirst ? residual : undefined,
    adds: !isFirst,
  });
  const chosen = chosenOf(op);
  const rowGroups = Math.ceil(weight.unitRows / shape.groupRows);
  return {
    body: expertSum,
    parts: [fragment, shape.reduce, ...end.parts, chosenExpert],
    flags: { ...end.flags, ragged: weight.cols % blockSize !== 0, waves: shape.areWaves },
    consts: {
      ...end.consts,
      ...chosen.consts,
      ...constsOf(op, part),
      ...shape.consts,
      matrix_rows: weight.unitRows,
      x_stride: x.rowStride / 4,
      scales_offset: scales!.offset,
      scales_stride: scales!.rowStride,
      weight_row_blocks: Math.ceil(weight.cols / blockSize),
      cols: weight.cols,
      grid_width: device.maxGridSize,
    },
    aliases: end.aliases,
    bindings: {
      x: { tensor: x, type: 'vec4<f32>' },
      ...weightBindings(weight),
      ...chosen.bindings,
      scales: { tensor: scales!, type: 'f32' },
      ...end.bindings,
    },
    grid: (batch) => foldGrid(batch.rows * rowGroups, device.maxGridSize),
  };
}
