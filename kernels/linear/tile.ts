/** @file `linear` for many rows of x: tiles of x and of the weight are staged in workgroup memory, weights unpacked once per tile. */
import {
  type DeviceTraits,
  type KernelSource,
  type KernelVariant,
  type WeightPart,
  weightBindings,
  wgslFile,
} from '../../src/gpu/kernel.ts';
import type { LinearOp } from '../../src/graph/graph.ts';
import { epilogue, epilogueParts } from './epilogue.ts';
import tileText from './tile.wgsl?raw';

const body = wgslFile('kernels/linear/tile.wgsl', tileText);

/** Threads of a workgroup (multiples of 8 each way), and what one thread computes. */
interface Shape {
  readonly rowThreads: number;
  readonly colThreads: number;
  readonly threadRows: number;
  /** Groups of four weight rows. */
  readonly threadCol4s: number;
}

const large: Shape = { rowThreads: 8, colThreads: 8, threadRows: 8, threadCol4s: 2 };
const small: Shape = { rowThreads: 8, colThreads: 8, threadRows: 4, threadCol4s: 1 };

const tileRows = (s: Shape): number => s.rowThreads * s.threadRows;
const tileCols = (s: Shape): number => s.colThreads * s.threadCol4s * 4;

/** Large tiles move less memory per product, but too few of them leave a GPU idle. */
const LEAST_LARGE_TILES = 64;

function fillsLargeTiles(op: LinearOp): boolean {
  const rows = op.inputs.x.shape[0]!;
  const tiles = Math.ceil(rows / tileRows(large)) * Math.ceil(op.weights.weight.rows / tileCols(large));
  return rows > tileRows(small) && tiles >= LEAST_LARGE_TILES;
}

/** A folded norm needs every row of x whole, which a tile never has. */
const hasNoNorm = (op: LinearOp): boolean => op.weights.norm === undefined;
const fitsF16 = (op: LinearOp, device: DeviceTraits): boolean =>
  device.f16 && op.weights.weight.format.fitsF16;

export const tileVariants: readonly KernelVariant<'linear'>[] = [
  {
    name: 'tile-large-f16',
    when: (op, device) => hasNoNorm(op) && fillsLargeTiles(op) && fitsF16(op, device),
    build: (op, { part }) => ({ ...build(op, part, large, 'vec4<f16>'), enables: ['f16'] }),
  },
  {
    name: 'tile-large',
    when: (op) => hasNoNorm(op) && fillsLargeTiles(op),
    build: (op, { part }) => build(op, part, large, 'vec4<f32>'),
  },
  {
    name: 'tile-small-f16',
    when: (op, device) => hasNoNorm(op) && fitsF16(op, device),
    build: (op, { part }) => ({ ...build(op, part, small, 'vec4<f16>'), enables: ['f16'] }),
  },
  {
    name: 'tile-small',
    when: hasNoNorm,
    build: (op, { part }) => build(op, part, small, 'vec4<f32>'),
  },
];

/** Values along k that a tile holds at least; a whole number of blocks of any format. */
const LEAST_TILE_K = 16;

function build(op: LinearOp, part: WeightPart, shape: Shape, tileType: string): KernelSource {
  const { x } = op.inputs;
  const { weight } = op.weights;
  const tileK = Math.max(LEAST_TILE_K, weight.format.blockSize);
  const end = epilogue(op, part);
  const numColTiles = Math.ceil(part.rows / tileCols(shape));
  return {
    body,
    parts: [weight.format.fragment, ...epilogueParts],
    flags: { ...end.flags, ragged: weight.cols % tileK !== 0 },
    consts: {
      ...end.consts,
      num_rows: x.shape[0]!,
      x_offset: x.offset / 4,
      x_stride: x.rowStride / 4,
      weight_rows: part.rows,
      weight_row_blocks: Math.ceil(weight.cols / weight.format.blockSize),
      cols: weight.cols,
      tile_k4s: tileK / 4,
      row_threads: shape.rowThreads,
      col_threads: shape.colThreads,
      thread_rows: shape.threadRows,
      thread_col4s: shape.threadCol4s,
    },
    aliases: { ...end.aliases, tile_vec4: tileType },
    bindings: { x: { tensor: x, type: 'vec4<f32>' }, ...weightBindings(weight), ...end.bindings },
    // Tiles of the same weight rows run side by side, so that a weight comes from memory once.
    grid: (step) => [Math.ceil(step.rows / tileRows(shape)), numColTiles, 1],
  };
}
