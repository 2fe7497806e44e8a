/** @file `linear` for few rows of x: every weight is read once, by teams of lanes that each take four weight rows. */
import {
  type Const,
  type DeviceTraits,
  f32,
  type KernelSource,
  type KernelVariant,
  vectorBinding,
  type WgslFile,
  weightBindings,
  wgslFile,
} from '../../src/gpu/kernel.ts';
import type { LinearOp } from '../../src/graph/ops/linear.ts';
import { foldGrid } from '../lib/grid.ts';
import { reduceSubgroups, reduceTeams, reduceWorkgroup, wavesPart } from '../lib/reduce.ts';
import { epilogue } from './epilogue.ts';
import matvecText from './matvec.wgsl?raw';
import sumsText from './matvec-sums.wgsl?raw';
import wavesText from './matvec-waves.wgsl?raw';
import { linearProduct, matrixFile, type Product } from './product.ts';

const body = wgslFile('kernels/linear/matvec.wgsl', matvecText);
const wavesBody = wgslFile('kernels/linear/matvec-waves.wgsl', wavesText);
const sumsFile = wgslFile('kernels/linear/matvec-sums.wgsl', sumsText);

/** Rows of x whose sums a lane can hold in registers: more of them are taken in several turns. */
const MAX_LANE_ROWS = 8;
/** Rows that are few: `fuse` folds norms up to the same number. */
export const MAX_MATVEC_ROWS = 16;
/** Rows of a matrix that a team of lanes takes. */
export const GROUP_ROWS = 4;
/** Enough workgroups to fill any GPU with 64 lanes each; below, more lanes per workgroup keep more loads in flight. */
const MANY_GROUPS = 512;
/** Lanes of a workgroup whose subgroups work alone. */
const WAVE_LANES = 128;

const hasFewRows = (op: LinearOp): boolean => op.inputs.x.shape[0]! <= MAX_MATVEC_ROWS;

/**
 * A subgroup needs no barrier and no workgroup memory to add up, so it comes first. What else wins depends on the GPU and the
 * matrix: few lanes for each row where rows are short, many where rows are long and few. `tune` measures, and whoever fails
 * the self-test is replaced by the next.
 */
export const matvecVariants: readonly KernelVariant<'linear'>[] = [
  {
    name: 'matvec-waves',
    when: (op, device) => device.subgroups && hasFewRows(op),
    build: (op, { device, part }) => matvecWaves(linearProduct(op, part), device),
  },
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
  {
    name: 'matvec-waves-staged',
    when: (op, device) => device.subgroups && hasFewRows(op),
    build: (op, { device, part }) => matvecWaves(linearProduct(op, part), device, true),
  },
  ...[32, 256].map(
    (lanes): KernelVariant<'linear'> => ({
      name: `matvec-subgroups-${lanes}`,
      when: (op, device) => device.subgroups && hasFewRows(op) && fits(op, device, lanes),
      build: (op, { device, part }) => matvecSubgroups(linearProduct(op, part), device, lanes),
    }),
  ),
  ...(
    [
      [1, 32],
      [1, 256],
      [4, 16],
      [4, 32],
    ] as const
  ).map(
    ([teams, lanes]): KernelVariant<'linear'> => ({
      name: `matvec-${teams}x${lanes}`,
      when: (op, device) => hasFewRows(op) && fits(op, device, teams * lanes),
      build: (op, { device, part }) =>
        matvec(linearProduct(op, part), device, {
          reduce: teams === 1 ? reduceWorkgroup : reduceTeams,
          teams,
          lanes,
        }),
    }),
  ),
];

/** The kernel for devices with subgroups. */
export const matvecSubgroups = (product: Product, device: DeviceTraits, lanes?: number): KernelSource => ({
  ...matvec(product, device, { reduce: reduceSubgroups, lanes }),
  enables: ['subgroups'],
});

interface MatvecShape {
  readonly reduce?: WgslFile;
  /** Teams of a workgroup, more than one only with reduceTeams. */
  readonly teams?: number;
  /** Of a team. Default: by the matrix. */
  readonly lanes?: number | undefined;
}

/** A team for every GROUP_ROWS rows of every matrix, for up to MAX_LANE_ROWS rows of x at a time. */
export function matvec(
  product: Product,
  device: DeviceTraits,
  { reduce = reduceWorkgroup, teams = 1, lanes }: MatvecShape = {},
): KernelSource {
  const { weight, matrixRows } = product;
  // Lanes decide the order of sums, so they do not depend on the rows of the program: a row gives the same bits in all of them.
  const numGroups = Math.ceil(matrixRows / GROUP_ROWS) * product.numMatrices({ rows: 1 });
  const rowBlocks = Math.ceil(weight.cols / weight.format.blockSize);
  const teamLanes = lanes ?? lanesFor(rowBlocks, numGroups, sumsOf(product, mostRowsOf(product)));
  return matvecSource(product, device, {
    body,
    reduce: [reduce],
    groupRows: GROUP_ROWS * teams,
    isStaged: false,
    consts: { num_teams: teams, team_lanes: teamLanes, num_lanes: teams * teamLanes },
  });
}

/**
 * A subgroup for every GROUP_ROWS rows. With several rows of x, or where told, they are staged in workgroup memory; the bits are the
 * same.
 */
export function matvecWaves(
  product: Product,
  device: DeviceTraits,
  isStaged = product.numRows > 1,
): KernelSource {
  const { groupRows, consts } = waveShape(device, 1);
  const chunk = isStaged && { chunk_vec4s: chunkVec4s(product) };
  return {
    ...matvecSource(product, device, {
      body: wavesBody,
      reduce: [wavesPart],
      groupRows,
      isStaged,
      consts: { ...consts, ...chunk },
    }),
    enables: ['subgroups'],
  };
}

/** vec4s of k that are staged at a time: as many as fit into what every device has, in whole blocks and whole sets of banks. */
function chunkVec4s({ numRows, weight }: Product): number {
  const blockVec4s = weight.format.blockSize / 4;
  const unit = Math.max(8, blockVec4s) * (8 % blockVec4s === 0 || blockVec4s % 8 === 0 ? 1 : blockVec4s);
  const row = Math.ceil(weight.cols / weight.format.blockSize) * blockVec4s;
  const fitting = Math.floor((WORKGROUP_BYTES - 4 * MAX_LANE_ROWS) / 16 / Math.min(numRows, MAX_LANE_ROWS));
  return Math.min(Math.floor(fitting / unit), Math.ceil(row / unit)) * unit;
}

/** Rows of a workgroup whose subgroups take at least so many GROUP_ROWS rows each, and the constants that say so. */
export function waveShape(
  device: DeviceTraits,
  quads: number,
): { groupRows: number; consts: Record<string, Const> } {
  const numQuads = quads * Math.ceil(WAVE_LANES / device.subgroupMinSize);
  const leastWaves = Math.max(1, Math.floor(WAVE_LANES / device.subgroupMaxSize));
  return {
    groupRows: GROUP_ROWS * numQuads,
    consts: { num_lanes: WAVE_LANES, num_quads: numQuads, quad_rounds: Math.ceil(numQuads / leastWaves) },
  };
}

/** Sums that a lane keeps. */
const sumsOf = ({ norm }: Pick<Product, 'norm'>, numRows: number): number =>
  numRows * (norm ? GROUP_ROWS + 1 : GROUP_ROWS);

/** Rows of x that go through one matrix in the program that has most of them. */
const mostRowsOf = ({ numRows, numMatrices }: Product): number =>
  numMatrices({ rows: 2 }) > numMatrices({ rows: 1 }) ? numRows : MAX_LANE_ROWS;

function matvecSource(
  product: Product,
  device: DeviceTraits,
  shape: {
    body: WgslFile;
    reduce: readonly WgslFile[];
    groupRows: number;
    isStaged: boolean;
    consts: Record<string, Const>;
  },
): KernelSource {
  const { x, weight, norm, matrixRows } = product;
  const numRows = Math.min(product.numRows, MAX_LANE_ROWS);
  const turns = Math.ceil(product.numRows / numRows);
  const matrixGroups = Math.ceil(matrixRows / shape.groupRows);
  const end = epilogue(product.ending);
  return {
    body: shape.body,
    parts: [
      weight.format.fragment,
      ...shape.reduce,
      ...end.parts,
      matrixFile,
      ...product.matrixParts,
      sumsFile,
    ],
    flags: {
      ...end.flags,
      norm: norm !== undefined,
      ragged: weight.cols % weight.format.blockSize !== 0,
      staged: shape.isStaged,
    },
    consts: {
      ...end.consts,
      ...product.consts,
      ...shape.consts,
      matrix_rows: matrixRows,
      num_rows: numRows,
      row_turns: turns,
      num_sums: shape.isStaged ? GROUP_ROWS * numRows : sumsOf(product, numRows),
      x_stride: x.rowStride / 4,
      weight_row_blocks: Math.ceil(weight.cols / weight.format.blockSize),
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
    grid: (batch) => foldGrid(matrixGroups * product.numMatrices(batch) * turns, device.maxGridSize),
  };
}

/** Whether so many lanes are allowed and have room to add up, whatever the rows of the program. */
function fits({ weights: { norm } }: LinearOp, device: DeviceTraits, lanes: number): boolean {
  const numSums = sumsOf({ norm }, MAX_LANE_ROWS);
  // Totals and a pad beside the sums of lanes.
  return lanes <= device.maxWorkgroupInvocations && 4 * numSums * (lanes + 5) <= device.maxWorkgroupBytes;
}

/** Workgroup memory that every device has. */
const WORKGROUP_BYTES = 16384;

/** A power of two from 32 to 128: no more lanes than blocks to load, and no more than workgroup memory has room to add up. */
export function lanesFor(numBlocks: number, numGroups: number, numSums: number): number {
  let lanes = numGroups >= MANY_GROUPS ? 64 : 128;
  while (lanes > 32 && (lanes / 2 >= numBlocks || lanes * numSums * 4 > WORKGROUP_BYTES)) lanes /= 2;
  return lanes;
}
