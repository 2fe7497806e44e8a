/** @file `attendSplit`: attention of few rows, each split of the context by a workgroup of its own. */
import { type DeviceTraits, f32, type KernelVariant, wgslFile } from '../../src/gpu/kernel.ts';
import type { AttendSplitOp } from '../../src/graph/graph.ts';
import attendSplitText from './attend-split.wgsl?raw';
import { cacheReader } from './cache.ts';
import { numSplits, splitConsts, splitFile } from './split.ts';

const body = wgslFile('kernels/attention/attend-split.wgsl', attendSplitText);

/** As in attend-split.wgsl. */
const THREADS = 128;
/** Queries whose sums a lane can hold in registers. */
const MAX_QUERIES = 8;
/** Values of a lane on their way at a time, in positions. */
const MAX_STREAM_KEYS = 8;

export const attendSplit: readonly KernelVariant<'attendSplit'>[] = [
  {
    name: 'streams',
    when: (op, device) => tileOf(op, device) !== undefined,
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
          num_queries: tile.numQueries,
          tile_keys: tile.keys,
          parts: tile.parts,
          num_streams: tile.numStreams,
          num_floats: tile.numFloats,
          turn_queries: tile.turnQueries,
          group_heads: groupHeads,
          num_kv_heads: numKvHeads,
          k_units: keys.shape[2]! / 4 / cache.vec4s,
          v_units: values.shape[2]! / 4 / cache.vec4s,
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
];

interface Tile {
  readonly numQueries: number;
  readonly keys: number;
  readonly parts: number;
  readonly numStreams: number;
  readonly numFloats: number;
  readonly turnQueries: number;
}

/** The tile with as many queries as registers and workgroup memory take, spread evenly over workgroups. */
function tileOf({ inputs: { q, keys, values } }: AttendSplitOp, device: DeviceTraits): Tile | undefined {
  const [, numKvHeads, kDim] = keys.shape as [number, number, number];
  const { vec4s } = cacheReader(keys, values);
  const vUnits = values.shape[2]! / 4 / vec4s;
  if (vUnits > THREADS) return undefined;
  const numStreams = Math.min(16, 2 ** Math.floor(Math.log2(THREADS / vUnits)));
  const tileKeys = Math.min(64, MAX_STREAM_KEYS * numStreams);
  const parts = Math.max(4, THREADS / tileKeys);
  const total = (q.shape[0]! * q.shape[1]!) / numKvHeads;
  for (let groups = Math.ceil(total / MAX_QUERIES); groups <= total; groups++) {
    const numQueries = Math.ceil(total / groups);
    const scoreFloats = numQueries * tileKeys * parts;
    const sumFloats = vec4s * 4 * (THREADS + 1);
    const turnQueries = Math.min(numQueries, Math.ceil(scoreFloats / sumFloats));
    const numFloats = Math.max(scoreFloats, turnQueries * sumFloats);
    const bytes = 4 * (numQueries * (kDim + tileKeys + 2 * numStreams) + numFloats);
    if (bytes <= device.maxWorkgroupBytes) {
      return { numQueries, keys: tileKeys, parts, numStreams, numFloats, turnQueries };
    }
  }
  return undefined;
}
