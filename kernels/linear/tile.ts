/** @file `linear` for many rows of x: tiles of x and of the weight are staged in workgroup memory, weights unpacked once per tile. */
import {
  type Binding,
  type Const,
  type DeviceTraits,
  type KernelSource,
  type KernelVariant,
  type WgslFile,
  weightBindings,
  wgslFile,
} from '../../src/gpu/kernel.ts';
import type { Tensor } from '../../src/graph/graph.ts';
import type { LinearOp } from '../../src/graph/ops/linear.ts';
import type { Weight } from '../../src/graph/weight.ts';
import { type Ending, epilogue } from './epilogue.ts';
import { linearProduct, matrixFile, type Product } from './product.ts';
import tileText from './tile.wgsl?raw';
import tileRowsText from './tile-rows.wgsl?raw';

const body = wgslFile('kernels/linear/tile.wgsl', tileText);
const tileRowsFile = wgslFile('kernels/linear/tile-rows.wgsl', tileRowsText);

/** Threads of a workgroup (multiples of 8 each way), and what one thread computes. */
export interface TileShape {
  readonly rowThreads: number;
  readonly colThreads: number;
  readonly threadRows: number;
  /** Groups of four weight rows. */
  readonly threadCol4s: number;
}

export const largeTile: TileShape = { rowThreads: 8, colThreads: 8, threadRows: 8, threadCol4s: 2 };
export const smallTile: TileShape = { rowThreads: 8, colThreads: 8, threadRows: 4, threadCol4s: 1 };

const rowsOf = (s: TileShape): number => s.rowThreads * s.threadRows;
const colsOf = (s: TileShape): number => s.colThreads * s.threadCol4s * 4;

/** Large tiles move less memory per product, but too few of them leave a GPU idle. */
const LEAST_LARGE_TILES = 64;

/** Whether `numMatrices` matrices of `matrixRows` rows, times `rows` rows of x each, are work enough for large tiles. */
export function fillsLargeTiles(rows: number, matrixRows: number, numMatrices: number): boolean {
  const tiles = Math.ceil(rows / rowsOf(largeTile)) * Math.ceil(matrixRows / colsOf(largeTile)) * numMatrices;
  return rows > rowsOf(smallTile) && matrixRows > colsOf(smallTile) && tiles >= LEAST_LARGE_TILES;
}

const isLarge = (op: LinearOp): boolean => fillsLargeTiles(op.inputs.x.shape[0]!, op.weights.weight.rows, 1);

/** A folded norm needs every row of x whole, which a tile never has. */
const hasNoNorm = (op: LinearOp): boolean => op.weights.norm === undefined;

/** Whether staged weights may be float16. */
export const fitsF16 = (weight: Weight, device: DeviceTraits): boolean => device.f16 && weight.format.fitsF16;

export const tileVariants: readonly KernelVariant<'linear'>[] = [
  {
    name: 'tile-large-f16',
    when: (op, device) => hasNoNorm(op) && isLarge(op) && fitsF16(op.weights.weight, device),
    build: (op, { part }) => inF16(tile(linearProduct(op, part), largeTile)),
  },
  {
    name: 'tile-large',
    when: (op) => hasNoNorm(op) && isLarge(op),
    build: (op, { part }) => tile(linearProduct(op, part), largeTile),
  },
  {
    name: 'tile-small-f16',
    when: (op, device) => hasNoNorm(op) && fitsF16(op.weights.weight, device),
    build: (op, { part }) => inF16(tile(linearProduct(op, part), smallTile)),
  },
  {
    name: 'tile-small',
    when: hasNoNorm,
    build: (op, { part }) => tile(linearProduct(op, part), smallTile),
  },
];

/** The same kernel with weights staged as float16. */
export const inF16 = (source: KernelSource): KernelSource => ({
  ...source,
  aliases: { ...source.aliases, tile_vec4: 'vec4<f16>' },
  enables: ['f16'],
});

/** Tiles of neighbouring rows of x. */
export function tile(product: Product, shape: TileShape): KernelSource {
  const columnTiles = Math.ceil(product.matrixRows / colsOf(shape));
  return tileSource(
    {
      ...product,
      rowParts: [...product.matrixParts, tileRowsFile],
      grid: (batch) => [Math.ceil(batch.rows / rowsOf(shape)), columnTiles * product.numMatrices(batch), 1],
    },
    shape,
  );
}

/** What tile.wgsl needs to be told. */
export interface TileProduct {
  readonly x: Tensor;
  readonly weight: Weight;
  readonly matrixRows: number;
  /** WGSL of what the rows of a tile are. */
  readonly rowParts: readonly WgslFile[];
  readonly consts: Readonly<Record<string, Const>>;
  readonly bindings?: Readonly<Record<string, Binding>> | undefined;
  readonly ending: Ending;
  readonly grid: KernelSource['grid'];
}

/** Values along k that a tile holds at least; a whole number of blocks of any format. */
const LEAST_TILE_K = 16;

export function tileSource(product: TileProduct, shape: TileShape): KernelSource {
  const { x, weight } = product;
  const tileK = Math.max(LEAST_TILE_K, weight.format.blockSize);
  const end = epilogue(product.ending);
  return {
    body,
    parts: [weight.format.fragment, ...end.parts, matrixFile, ...product.rowParts],
    flags: { ...end.flags, ragged: weight.cols % tileK !== 0 },
    consts: {
      ...end.consts,
      ...product.consts,
      matrix_rows: product.matrixRows,
      x_stride: x.rowStride / 4,
      weight_row_blocks: Math.ceil(weight.cols / weight.format.blockSize),
      cols: weight.cols,
      tile_k4s: tileK / 4,
      row_threads: shape.rowThreads,
      col_threads: shape.colThreads,
      thread_rows: shape.threadRows,
      thread_col4s: shape.threadCol4s,
    },
    aliases: { ...end.aliases, tile_vec4: 'vec4<f32>' },
    bindings: {
      x: { tensor: x, type: 'vec4<f32>' },
      ...weightBindings(weight),
      ...product.bindings,
      ...end.bindings,
    },
    grid: product.grid,
  };
}
