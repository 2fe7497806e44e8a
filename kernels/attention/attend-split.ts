/**
 * @file `attendSplit`: attention of few rows, each split of the context by workgroups of its own: by streams of positions
 * as long as a kv head has few queries and memory is the limit, and in tiles like `attend` where values are so long (latent
 * attention, all heads on one cache) that arithmetic is.
 */
import { type DeviceTraits, f32, type KernelVariant, wgslFile } from '../../src/gpu/kernel.ts';
import type { AttendSplitOp } from '../../src/graph/graph.ts';
import attendSplitText from './attend-split.wgsl?raw';
import { cacheReader } from './cache.ts';
import { numSplits, splitConsts, splitFile } from './split.ts';
import { MAX_SQUARE_V_DIM, tileSource } from './tile.ts';

const body = wgslFile('kernels/attention/attend-split.wgsl', attendSplitText);

/** As in attend-split.wgsl. */
const THREADS = 256;
const TILE_KEYS = 64;
const PARTS = 4;
/** Queries of a workgroup, and those whose scores a lane sums at a time. */
const MAX_QUERIES = 8;
const MAX_BLOCK_QUERIES = 4;

export const attendSplit: readonly KernelVariant<'attendSplit'>[] = [
  {
    name: 'streams',
    when: (op, device) => op.inputs.values.shape[2]! <= MAX_SQUARE_V_DIM && tileOf(op, device) !== undefined,
    build(op, { device }) {
      const { q, keys, values } = op.inputs;
      const { partials } = op.outputs;
      const numKvHeads = keys.shape[1]!;
      const groupHeads = q.shape[1]! / numKvHeads;
      const cache = cacheReader(keys, values);
      const tile = tileOf(op, device)!;
      return {
        body,
        parts: [cache.part, splitFile],
        flags: cache.flags,
        aliases: { cache_unit: cache.type },
        consts: {
          ...splitConsts(op.attrs),
          ...cache.consts,
          num_queries: tile.numQueries,
          block_queries: tile.blockQueries,
          num_streams: tile.numStreams,
          num_floats: tile.numFloats,
          group_heads: groupHeads,
          scale: f32(op.attrs.scale * Math.LOG2E),
          q_offset: q.offset / 4,
          q_stride: q.rowStride / 4,
          partials_stride: partials.rowStride,
          width: partials.shape[3]!,
        },
        bindings: {
          q: { tensor: q, type: 'vec4<f32>' },
          keys: { tensor: keys, type: cache.type },
          values: { tensor: values, type: cache.type },
          partials: { tensor: partials, type: 'f32', access: 'read_write' },
        },
        grid: (step) => [
          numSplits(op.attrs, step),
          numKvHeads,
          Math.ceil((step.rows * groupHeads) / tile.numQueries),
        ],
      };
    },
  },
  {
    name: 'tile',
    when: () => true,
    build(op) {
      const { numTiles, numKvHeads, ...source } = tileSource(op, op.outputs.partials);
      return {
        ...source,
        parts: [...(source.parts ?? []), splitFile],
        flags: { ...source.flags, partial: true },
        consts: { ...source.consts, ...splitConsts(op.attrs) },
        grid: (step) => [numSplits(op.attrs, step), numKvHeads, numTiles(step.rows)],
      };
    },
  },
];

interface Tile {
  readonly numQueries: number;
  readonly blockQueries: number;
  readonly numStreams: number;
  readonly numFloats: number;
}

/** As many queries as lanes and workgroup memory take, spread evenly over workgroups. */
function tileOf({ inputs: { q, keys, values } }: AttendSplitOp, device: DeviceTraits): Tile | undefined {
  const [, numKvHeads, kDim] = keys.shape as [number, number, number];
  const { vec4s } = cacheReader(keys, values);
  const vUnits = values.shape[2]! / 4 / vec4s;
  const total = (q.shape[0]! * q.shape[1]!) / numKvHeads;
  for (let groups = Math.ceil(total / MAX_QUERIES); groups <= total; groups++) {
    const wanted = Math.ceil(total / groups);
    const numBlocks = Math.ceil(wanted / MAX_BLOCK_QUERIES);
    const blockQueries = Math.ceil(wanted / numBlocks);
    const numQueries = numBlocks * blockQueries;
    const numStreams = Math.min(TILE_KEYS, Math.floor(THREADS / (vUnits * numQueries)));
    const numFloats = Math.max(numQueries * PARTS * (TILE_KEYS + 8), THREADS * 4 * vec4s);
    const bytes = 4 * (numQueries * (kDim + 2 * numStreams) + numFloats);
    if (numStreams > 0 && bytes <= device.maxWorkgroupBytes) {
      return { numQueries, blockQueries, numStreams, numFloats };
    }
  }
  return undefined;
}
