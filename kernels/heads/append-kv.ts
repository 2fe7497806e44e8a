/** @file `appendKv`: copies rows of k and v to the step's positions in the caches. */
import { type KernelVariant, wgslFile } from '../../src/gpu/kernel.ts';
import { rowSize } from '../../src/graph/graph.ts';
import appendKvText from './append-kv.wgsl?raw';
import { cacheWriter } from './to-cache.ts';

const body = wgslFile('kernels/heads/append-kv.wgsl', appendKvText);

export const appendKv: readonly KernelVariant<'appendKv'>[] = [
  {
    name: 'pairs',
    when: () => true,
    build(op) {
      const { k, v } = op.inputs;
      const { keys, values } = op.outputs;
      const cache = cacheWriter(keys);
      const [numKPairs, numVPairs] = [rowSize(k) / 2, rowSize(v) / 2];
      const numGroups = Math.ceil((numKPairs + numVPairs) / 64);
      return {
        body,
        parts: [cache.part],
        flags: cache.flags,
        aliases: cache.aliases,
        consts: {
          k_pairs: numKPairs,
          k_offset: k.offset / 2,
          k_stride: k.rowStride / 2,
          v_pairs: numVPairs,
          v_offset: v.offset / 2,
          v_stride: v.rowStride / 2,
        },
        bindings: {
          k: { tensor: k, type: 'vec2<f32>' },
          v: { tensor: v, type: 'vec2<f32>' },
          keys: { tensor: keys, type: cache.type, access: 'read_write' },
          values: { tensor: values, type: cache.type, access: 'read_write' },
        },
        grid: (step) => [numGroups, step.rows, 1],
      };
    },
  },
];
