/** @file `attend`: flash attention in tiles, for prefill (and for few rows where the context is not split). */
import { f32, type KernelVariant, wgslFile } from '../../src/gpu/kernel.ts';
import attendText from './attend.wgsl?raw';
import { cacheReader } from './cache.ts';

const body = wgslFile('kernels/attention/attend.wgsl', attendText);

/** As in attend.wgsl. */
const TILE_QUERIES = 64;
const TILE_KEYS = 32;
const STAGE_VEC4S = 512;

export const attend: readonly KernelVariant<'attend'>[] = [
  {
    name: 'tile',
    when: () => true,
    build(op) {
      const { q, keys, values } = op.inputs;
      const { out } = op.outputs;
      const [, numHeads, kDim] = q.shape as [number, number, number];
      const [, numKvHeads, vDim] = values.shape as [number, number, number];
      const groupHeads = numHeads / numKvHeads;
      const cache = cacheReader(keys, values);
      const vCols = Math.ceil(vDim / 4 / 8);
      return {
        body,
        parts: [cache.part],
        flags: cache.flags,
        consts: {
          num_kv_heads: numKvHeads,
          group_heads: groupHeads,
          k_units: kDim / 4 / cache.vec4s,
          v_units: vDim / 4 / cache.vec4s,
          v_cols: vCols,
          v_keys: Math.min(TILE_KEYS, 2 ** Math.floor(Math.log2(STAGE_VEC4S / (vCols * 8)))),
          scale: f32(op.attrs.scale * Math.LOG2E),
          q_offset: q.offset / 4,
          q_stride: q.rowStride / 4,
          out_offset: out.offset / 4,
          out_stride: out.rowStride / 4,
        },
        bindings: {
          q: { tensor: q, type: 'vec4<f32>' },
          keys: { tensor: keys, type: cache.type },
          values: { tensor: values, type: cache.type },
          out: { tensor: out, type: 'vec4<f32>', access: 'read_write' },
        },
        grid: (step) => [Math.ceil((step.rows * groupHeads) / TILE_QUERIES), numKvHeads, 1],
      };
    },
  },
];
