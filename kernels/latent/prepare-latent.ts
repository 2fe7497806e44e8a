/**
 * @file `prepareLatent`: the latent cache append, and queries in terms of the latent.
 *
 * Latent attention has two forms, and this one, absorbed, serves prefill too. Multiply-adds for each query head and
 * position with the sizes of DeepSeek-V3 (rank 512, rope 64, nope 128, v 128; R rows in a chunk of prefill):
 *   absorbed: 576 for the score + 512 for the value = 1088, on the cache as it is
 *   expanded: 192 + 128 = 320, and 256 * 512 / R to expand the cache of every chunk again: 832 at R = 256, 448 at 1024
 * Expanded needs fewer from R = 171 on, a quarter fewer at the default of 256 rows, but a workspace of context * 128 heads *
 * 320 values: 5.4 GB of f32 at 32,768 positions, more than one binding holds. That is not worth a second form of attention.
 */
import {
  type Binding,
  type BuildContext,
  type Const,
  f32,
  type KernelSource,
  type KernelVariant,
  vectorBinding,
  type WgslFile,
  weightBindings,
  wgslFile,
} from '../../src/gpu/kernel.ts';
import type { PrepareLatentOp } from '../../src/graph/ops/latent.ts';
import { cachePlaces, cacheWriter } from '../cache/cache.ts';
import { rotation } from '../heads/rotate.ts';
import prepareLatentText from './prepare-latent.wgsl?raw';

const body = wgslFile('kernels/latent/prepare-latent.wgsl', prepareLatentText);

const LANES = 128;
const MAX_LANE_ROWS = 8;
/** Rows for which slices are used: as many as are few, so that a row gives the same bits in all programs for few rows. */
const MAX_SLICED_ROWS = 16;
/** Sums that a lane holds in registers; slices leave them in workgroup memory, within SLICES_BYTES. */
const LANE_SUMS = 64;
const SLICE_SUMS = 16;
/** Workgroup memory for sums: half of what every device has, so that two workgroups share a processor that has no more. */
const SLICES_BYTES = 8192;

const hasFewRows = (op: PrepareLatentOp): boolean => op.inputs.q.shape[0]! <= MAX_SLICED_ROWS;

export const prepareLatent: readonly KernelVariant<'prepareLatent'>[] = [
  {
    name: 'slices',
    when: hasFewRows,
    build: (op, context) => build(op, productShape(op, context, { colLanes: 16, isSliced: true })),
  },
  {
    name: 'rows',
    when: (op) => !hasFewRows(op),
    build: (op, context) => build(op, productShape(op, context, { colLanes: 32, isSliced: false })),
  },
];

/** How workgroups share the heads, the rows of q and the product with the matrix. */
interface Shape {
  /** Of the bound part of the matrix, if there is one. */
  readonly numHeads: number;
  readonly colTiles: number;
  readonly numLanes: number;
  /** Rows of q of a workgroup. */
  readonly tileRows: number;
  readonly parts: readonly WgslFile[];
  readonly flags: Readonly<Record<string, boolean>>;
  readonly consts: Readonly<Record<string, Const>>;
  readonly bindings: Readonly<Record<string, Binding>>;
  readonly writesCache: boolean;
}

function productShape(
  { inputs: { q }, weights: { weight } }: PrepareLatentOp,
  { part }: BuildContext,
  { colLanes, isSliced }: { colLanes: number; isSliced: boolean },
): Shape {
  const [numRows, allHeads] = q.shape as [number, number, number];
  if (!weight) {
    return {
      numHeads: allHeads,
      colTiles: 1,
      numLanes: LANES,
      tileRows: isSliced ? 1 : MAX_LANE_ROWS,
      parts: [],
      flags: { product: false, sliced: false },
      consts: { first_head: 0 },
      bindings: {},
      writesCache: true,
    };
  }
  const { blockSize, fragment } = weight.format;
  const rowBlocks = Math.ceil(weight.cols / blockSize);
  // With slices the order of the sums must not depend on the rows of the program.
  const laneRows = isSliced
    ? Math.min(numRows, Math.max(1, Math.floor(SLICE_SUMS / blockSize)))
    : Math.min(numRows, MAX_LANE_ROWS, Math.max(1, Math.floor(LANE_SUMS / blockSize)));
  const numLanes = isSliced && LANES * blockSize * 4 > SLICES_BYTES ? LANES / 2 : LANES;
  return {
    numHeads: part.rows / weight.unitRows,
    colTiles: Math.ceil(rowBlocks / colLanes),
    numLanes,
    tileRows: isSliced ? laneRows : laneRows * (numLanes / colLanes),
    parts: [fragment],
    flags: { product: true, sliced: isSliced },
    consts: {
      first_head: part.begin / weight.unitRows,
      unit_rows: weight.unitRows,
      weight_row_blocks: rowBlocks,
      col_lanes: colLanes,
      lane_rows: laneRows,
    },
    bindings: weightBindings(weight),
    // Every part has all the rows of q, but the cache is written once.
    writesCache: part.index === 0,
  };
}

function build(
  {
    inputs: { q, latent, angles, batch },
    weights: { norm },
    attrs,
    outputs: { out, cache },
  }: PrepareLatentOp,
  shape: Shape,
): KernelSource {
  const [, , headDim] = q.shape as [number, number, number];
  const rotated = rotation(angles, attrs.pairing);
  const writer = cacheWriter(cache);
  const places = cachePlaces(batch, cache);
  const { numHeads, colTiles, numLanes, tileRows } = shape;
  const numGroups = numHeads * colTiles + (shape.writesCache ? tileRows : 0);
  return {
    body,
    parts: [...shape.parts, rotated.part, ...places.parts, writer.part],
    flags: { ...rotated.flags, ...writer.flags, ...shape.flags },
    aliases: writer.aliases,
    consts: {
      ...rotated.consts,
      ...places.consts,
      ...writer.consts,
      ...shape.consts,
      num_heads: numHeads,
      col_tiles: colTiles,
      num_lanes: numLanes,
      tile_rows: tileRows,
      nope_vec4s: (headDim - angles.shape[1]!) / 4,
      rank_pairs: norm.cols / 2,
      eps: f32(attrs.eps),
      q_offset: q.offset / 4,
      q_stride: q.rowStride / 4,
      latent_offset: latent.offset / 2,
      latent_stride: latent.rowStride / 2,
      out_offset: out.offset / 2,
      out_stride: out.rowStride / 2,
    },
    bindings: {
      batch_table: places.binding,
      q: { tensor: q, type: 'vec4<f32>' },
      latent: { tensor: latent, type: 'vec2<f32>' },
      norm: { ...vectorBinding(norm), type: 'vec2<f32>' },
      ...shape.bindings,
      out: { tensor: out, type: 'vec2<f32>', access: 'read_write' },
      keys: { tensor: cache, type: writer.type, access: 'read_write' },
    },
    grid: (batch) => [numGroups, Math.ceil(batch.rows / tileRows), 1],
  };
}
