/** @file What `attend` and the tiles of `attendSplit` share: attend.wgsl, and the shape of its workgroups. */
import { f32, type KernelSource, wgslFile } from '../../src/gpu/kernel.ts';
import type { Tensor } from '../../src/graph/graph.ts';
import type { AttendOp, AttendSplitOp } from '../../src/graph/ops/attention.ts';
import { cachePlaces, cacheReader } from '../cache/cache.ts';
import attendText from './attend.wgsl?raw';
import { walkOf } from './walk.ts';

const body = wgslFile('kernels/attention/attend.wgsl', attendText);

/** Lanes of a workgroup, and the positions of a tile that each has; every lane has four queries. */
interface Shape {
  readonly lanesY: number;
  readonly lanesX: number;
  readonly keyCols: number;
}

const square: Shape = { lanesY: 16, lanesX: 8, keyCols: 4 };
/** Long values are spread over more lanes, so that the sums of a lane stay in registers: 64 floats at v_dim 512. */
const wide: Shape = { lanesY: 8, lanesX: 32, keyCols: 2 };
const wideOfFewQueries: Shape = { ...wide, lanesY: 4 };

/** The longest values whose sums the lanes of `square` can hold. */
export const MAX_SQUARE_V_DIM = 256;
/** Of vec4s: what attend.wgsl has for a chunk of values. */
const STAGE_VEC4S = 512;

const queriesOf = (shape: Shape): number => 4 * shape.lanesY;

/** `queries`: how many share a walk over the context: those of a tile's rows, or of one row. */
function shapeOf(values: Tensor, queries: number): Shape {
  if (values.shape[2]! <= MAX_SQUARE_V_DIM) return square;
  return queries <= queriesOf(wideOfFewQueries) ? wideOfFewQueries : wide;
}

/** attend.wgsl for an op, all but its grid; and the queries of a workgroup. `out`: [rows, ...] of vec4s. */
export function tileSource(
  { kind, inputs: { q, keys, values, batch }, attrs }: AttendOp | AttendSplitOp,
  out: Tensor,
): Omit<KernelSource, 'grid'> & { numKvHeads: number; tileQueries: number } {
  const [numKvHeads, vDim] = values.shape.slice(1) as [number, number];
  const groupHeads = q.shape[1]! / numKvHeads;
  const cache = cacheReader(keys, values);
  const shape = shapeOf(values, kind === 'attendSplit' ? groupHeads : groupHeads * q.shape[0]!);
  const places = cachePlaces(batch, keys);
  const walk = walkOf(attrs.window);
  const vCols = Math.ceil(vDim / 4 / shape.lanesX);
  const tileKeys = shape.lanesX * shape.keyCols;
  return {
    numKvHeads,
    tileQueries: queriesOf(shape),
    body,
    parts: [cache.part, ...places.parts, walk.part],
    flags: { ...cache.flags, partial: false },
    consts: {
      ...cache.consts,
      ...places.consts,
      ...walk.consts,
      lanes_y: shape.lanesY,
      lanes_x: shape.lanesX,
      key_cols: shape.keyCols,
      v_cols: vCols,
      v_keys: Math.min(tileKeys, 2 ** Math.floor(Math.log2(STAGE_VEC4S / (vCols * shape.lanesX)))),
      group_heads: groupHeads,
      scale: f32(attrs.scale * Math.LOG2E),
      q_offset: q.offset / 4,
      q_stride: q.rowStride / 4,
      out_offset: out.offset / 4,
      out_stride: out.rowStride / 4,
    },
    bindings: {
      batch_table: places.binding,
      q: { tensor: q, type: 'vec4<f32>' },
      keys: { tensor: keys, type: cache.type },
      values: { tensor: values, type: cache.type },
      out: { tensor: out, type: 'vec4<f32>', access: 'read_write' },
    },
  };
}
