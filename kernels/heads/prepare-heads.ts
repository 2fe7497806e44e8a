/**
 * @file `prepareHeads`: norms, rotations and the cache append of all heads of a row in one dispatch. Several heads share
 * a workgroup; one barrier adds up the squares of each.
 */
import { f32, type KernelVariant, vectorBinding, wgslFile } from '../../src/gpu/kernel.ts';
import { baseOf } from '../../src/graph/graph.ts';
import type { Weight } from '../../src/graph/weight.ts';
import { cachePlaces, cacheWriter } from '../cache/cache.ts';
import { mixing } from './mix-heads.ts';
import prepareHeadsText from './prepare-heads.wgsl?raw';
import { rotation } from './rotate.ts';

const body = wgslFile('kernels/heads/prepare-heads.wgsl', prepareHeadsText);

const pairsOf = (weight: Weight) => ({ ...vectorBinding(weight), type: 'vec2<f32>' });

export const prepareHeads: readonly KernelVariant<'prepareHeads'>[] = [
  {
    name: 'units',
    // q, k and v are one binding, so that the kernel stays within the 8 storage buffers that every device has.
    when: ({ inputs: { q, k, v } }, device) =>
      baseOf(q) === baseOf(k) &&
      baseOf(q) === baseOf(v) &&
      Math.max(q.shape[2]!, v.shape[2]!) / 4 <= device.maxWorkgroupInvocations,
    build(op) {
      const { q, k, v, angles, batch } = op.inputs;
      const { out, keys, values } = op.outputs;
      const { qNorm, kNorm } = op.weights;
      const [, numHeads, kDim] = q.shape as [number, number, number];
      const [, numKvHeads, vDim] = v.shape as [number, number, number];
      const rotated = rotation(angles, op.attrs.pairing);
      const mixed = op.attrs.mixes ? mixing(kDim) : undefined;
      const cache = cacheWriter(keys, values);
      const places = cachePlaces(batch, keys);
      const lanes = 2 ** Math.ceil(Math.log2(Math.max(kDim, vDim) / 4));
      const threads = Math.max(64, lanes);
      const numGroups = Math.ceil(((numHeads + 2 * numKvHeads) * lanes) / threads);
      return {
        body,
        parts: [rotated.part, ...places.parts, cache.part, ...(mixed ? [mixed.part] : [])],
        flags: {
          ...rotated.flags,
          ...cache.flags,
          norm: qNorm !== undefined && kNorm !== undefined,
          mixes: mixed !== undefined,
        },
        aliases: cache.aliases,
        consts: {
          ...rotated.consts,
          ...places.consts,
          ...cache.consts,
          ...mixed?.consts,
          threads,
          lanes,
          num_heads: numHeads,
          num_kv_heads: numKvHeads,
          k_units: kDim / 4,
          v_units: vDim / 4,
          k_dim: kDim,
          eps: f32(op.attrs.eps),
          q_offset: q.offset / 2,
          k_offset: k.offset / 2,
          v_offset: v.offset / 2,
          qkv_stride: q.rowStride / 2,
          out_offset: out.offset / 2,
          out_stride: out.rowStride / 2,
        },
        bindings: {
          batch_table: places.binding,
          qkv: { tensor: q, type: 'vec2<f32>' },
          ...(qNorm && kNorm && { q_norm: pairsOf(qNorm), k_norm: pairsOf(kNorm) }),
          out: { tensor: out, type: 'vec2<f32>', access: 'read_write' },
          keys: { tensor: keys, type: cache.type, access: 'read_write' },
          values: { tensor: values, type: cache.type, access: 'read_write' },
        },
        grid: (batch) => [numGroups, batch.rows, 1],
      };
    },
  },
];
