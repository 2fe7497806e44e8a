/** @file `attend`: flash attention in tiles, for prefill (and for few rows where the context is not split). */
import type { KernelVariant } from '../../src/gpu/kernel.ts';
import { tileSource } from './tile.ts';

export const attend: readonly KernelVariant<'attend'>[] = [
  {
    name: 'tile',
    when: () => true,
    build(op) {
      const { numKvHeads, tileQueries, ...source } = tileSource(op, op.outputs.out);
      const groupHeads = op.inputs.q.shape[1]! / numKvHeads;
      return {
        ...source,
        // Of each sequence the last tile may be no full one.
        grid: ({ rows, sequences }) => [
          Math.ceil((rows * groupHeads) / tileQueries) + sequences - 1,
          numKvHeads,
          1,
        ],
      };
    },
  },
];
