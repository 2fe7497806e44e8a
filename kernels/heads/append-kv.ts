/** @file `appendKv`: copies rows of k and v to their places in the caches. */
import { type KernelVariant, wgslFile } from '../../src/gpu/kernel.ts';
import { rowSize } from '../../src/graph/graph.ts';
import { cachePlaces, cacheWriter } from '../cache/cache.ts';
import appendKvText from './append-kv.wgsl?raw';

const body = wgslFile('kernels/heads/append-kv.wgsl', appendKvText);

export const appendKv: readonly KernelVariant<'appendKv'>[] = [
  {
    name: 'pairs',
    when: () => true,
    build(op) {
      const { k, v, batch } = op.inputs;
      const { keys, values } = op.outputs;
      const cache = cacheWriter(keys, values);
      const places = cachePlaces(batch, keys);
      const [numKPairs, numVPairs] = [rowSize(k) / 2, rowSize(v) / 2];
      const numGroups = Math.ceil((numKPairs + numVPairs) / 64);
      return {
        body,
        parts: [...places.parts, cache.part],
        flags: cache.flags,
        aliases: cache.aliases,
        consts: {
          ...places.consts,
          ...cache.consts,
          k_pairs: numKPairs,
          k_head_pairs: keys.shape[2]! / 2,
          v_head_pairs: values.shape[2]! / 2,
          k_offset: k.offset / 2,
          k_stride: k.rowStride / 2,
          v_pairs: numVPairs,
          v_offset: v.offset / 2,
          v_stride: v.rowStride / 2,
        },
        bindings: {
          batch_table: places.binding,
          k: { tensor: k, type: 'vec2<f32>' },
          v: { tensor: v, type: 'vec2<f32>' },
          keys: { tensor: keys, type: cache.type, access: 'read_write' },
          values: { tensor: values, type: cache.type, access: 'read_write' },
        },
        grid: (batch) => [numGroups, batch.rows, 1],
      };
    },
  },
];
