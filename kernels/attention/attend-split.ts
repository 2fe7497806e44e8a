/**
 * @file `attendSplit`: attention of few rows, each split of a row's context by workgroups of its own: by streams of positions
 * as long as a kv head has few queries and memory is the limit, and in tiles like `attend` where values are so long (latent
 * attention, all heads on one cache) that arithmetic is.
 */
import { type DeviceTraits, f32, type KernelVariant, wgslFile } from '../../src/gpu/kernel.ts';
import { BLOCK_LENGTH } from '../../src/graph/batch.ts';
import type { AttendSplitOp } from '../../src/graph/ops/attention.ts';
import { cachePlaces, cacheReader } from '../cache/cache.ts';
import attendSplitText from './attend-split.wgsl?raw';
import { mostSplits, splitConsts, splitFile } from './split.ts';
import { MAX_SQUARE_V_DIM, tileSource } from './tile.ts';
import { walkOf } from './walk.ts';

const body = wgslFile('kernels/attention/attend-split.wgsl', attendSplitText);

/** As in attend-split.wgsl. */
const THREADS = 256;
const NUM_TOPS = 8;
/** Queries of a workgroup, and those that a lane computes at a time. */
const MAX_QUERIES = 8;
const MAX_BLOCK_QUERIES = 4;
/** vec4s of q in the registers of a lane. */
const MAX_Q_VEC4S = 16;
const MAX_PARTS = 16;
const MAX_TILE_KEYS = 256;
/** Scores of a tile in workgroup memory: more would leave room for fewer workgroups. */
const MAX_SCORES = 3072;

export const attendSplit: readonly KernelVariant<'attendSplit'>[] = [
  {
    name: 'streams',
    when: (op, device) => op.inputs.values.shape[2]! <= MAX_SQUARE_V_DIM && tileOf(op, device) !== undefined,
    build(op, { device }) {
      const { q, keys, values, batch } = op.inputs;
      const { partials } = op.outputs;
      const numKvHeads = keys.shape[1]!;
      const groupHeads = q.shape[1]! / numKvHeads;
      const cache = cacheReader(keys, values);
      const tile = tileOf(op, device)!;
      const places = cachePlaces(batch, keys);
      const walk = walkOf(op.attrs.window);
      const rowGroups = Math.ceil(groupHeads / tile.numQueries);
      return {
        body,
        parts: [cache.part, ...places.parts, walk.part, splitFile],
        flags: cache.flags,
        consts: {
          ...splitConsts(op.attrs),
          ...cache.consts,
          ...places.consts,
          ...walk.consts,
          num_blocks: tile.numBlocks,
          block_queries: tile.blockQueries,
          parts: tile.parts,
          tile_keys: tile.tileKeys,
          num_streams: tile.numStreams,
          num_floats: tile.numFloats,
          group_heads: groupHeads,
          row_groups: rowGroups,
          scale: f32(op.attrs.scale * Math.LOG2E),
          q_offset: q.offset / 4,
          q_stride: q.rowStride / 4,
          partials_stride: partials.rowStride,
          width: partials.shape[3]!,
        },
        bindings: {
          batch_table: places.binding,
          q: { tensor: q, type: 'vec4<f32>' },
          keys: { tensor: keys, type: cache.type },
          values: { tensor: values, type: cache.type },
          partials: { tensor: partials, type: 'f32', access: 'read_write' },
        },
        grid: (batch) => [mostSplits(op.attrs, batch), numKvHeads, batch.rows * rowGroups],
      };
    },
  },
  {
    name: 'tile',
    when: () => true,
    build(op) {
      const { numKvHeads, tileQueries, ...source } = tileSource(op, op.outputs.partials);
      const groupHeads = op.inputs.q.shape[1]! / numKvHeads;
      const rowTiles = Math.ceil(groupHeads / tileQueries);
      return {
        ...source,
        parts: [...(source.parts ?? []), splitFile],
        flags: { ...source.flags, partial: true },
        consts: { ...source.consts, ...splitConsts(op.attrs), row_tiles: rowTiles },
        grid: (batch) => [mostSplits(op.attrs, batch), numKvHeads, batch.rows * rowTiles],
      };
    },
  },
];

interface Tile {
  readonly numQueries: number;
  readonly numBlocks: number;
  readonly blockQueries: number;
  readonly parts: number;
  readonly tileKeys: number;
  readonly numStreams: number;
  readonly numFloats: number;
}

/**
 * As many heads of a row as lanes and workgroup memory take, spread evenly over workgroups. It does not depend on the rows of the
 * program: a row must give the same bits in all of them.
 */
function tileOf({ inputs: { q, keys, values } }: AttendSplitOp, device: DeviceTraits): Tile | undefined {
  const [, numKvHeads, kDim] = keys.shape as [number, number, number];
  const { vec4s } = cacheReader(keys, values);
  const vUnits = values.shape[2]! / 4 / vec4s;
  const kUnits = kDim / 4 / vec4s;
  const total = q.shape[1]! / numKvHeads;
  for (let groups = Math.ceil(total / MAX_QUERIES); groups <= total; groups++) {
    const wanted = Math.ceil(total / groups);
    const numBlocks = Math.ceil(wanted / MAX_BLOCK_QUERIES);
    const blockQueries = Math.ceil(wanted / numBlocks);
    const numQueries = numBlocks * blockQueries;
    let parts = THREADS / (BLOCK_LENGTH * numBlocks);
    while (parts < MAX_PARTS && blockQueries * vec4s * Math.ceil(kUnits / parts) > MAX_Q_VEC4S) parts *= 2;
    const scores = (tileKeys: number): number => numQueries * parts * (tileKeys + 32 / parts);
    let tileKeys = MAX_TILE_KEYS;
    while (scores(tileKeys) > MAX_SCORES) tileKeys /= 2;
    const lanes = Math.floor(THREADS / (vUnits * numBlocks));
    const numStreams = lanes && Math.min(BLOCK_LENGTH, 2 ** Math.floor(Math.log2(lanes)));
    const numFloats = Math.max(scores(tileKeys), (THREADS + 8 / vec4s) * 4 * vec4s);
    const bytes = 4 * (numFloats + THREADS + numQueries * (kDim + NUM_TOPS + 2) + numBlocks * numStreams);
    if (numStreams > 0 && bytes <= device.maxWorkgroupBytes) {
      return { numQueries, numBlocks, blockQueries, parts, tileKeys, numStreams, numFloats };
    }
  }
  return undefined;
}
