/** @file `topLogits`: the likeliest tokens of each row, part by part. */
import { type KernelVariant, wgslFile } from '../../src/gpu/kernel.ts';
import { rowSize } from '../../src/graph/graph.ts';
import { orderedKey } from '../lib/ordered-key.ts';
import text from './top-logits.wgsl?raw';

const body = wgslFile('kernels/sample/top-logits.wgsl', text);

export const topLogits: readonly KernelVariant<'topLogits'>[] = [
  {
    name: 'rounds',
    when: () => true,
    build({ inputs: { x }, attrs: { count, partSize }, outputs: { top } }) {
      const isMerge = x.dtype === 'u32';
      const numParts = top.shape[1]!;
      return {
        body,
        parts: [orderedKey],
        flags: { is_merge: isMerge },
        consts: {
          count,
          part_size: partSize,
          num_entries: isMerge ? rowSize(x) / 2 : rowSize(x),
          x_stride: isMerge ? x.rowStride / 2 : x.rowStride,
          top_stride: top.rowStride / 2,
          num_lanes: 256,
        },
        bindings: {
          x: { tensor: x, type: isMerge ? 'vec2<u32>' : 'f32' },
          top: { tensor: top, type: 'vec2<u32>', access: 'read_write' },
        },
        grid: ({ rows }) => [numParts, rows, 1],
      };
    },
  },
];
