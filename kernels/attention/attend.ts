/** @file `attend`: flash attention in tiles, for prefill (and for few rows where the context is not split). */
import type { KernelVariant } from '../../src/gpu/kernel.ts';
import { tileSource } from './tile.ts';

export const attend: readonly KernelVariant<'attend'>[] = [
  {
    name: 'tile',
    when: () => true,
    build(op) {
      const { numTiles, numKvHeads, ...source } = tileSource(op, op.outputs.out);
      return { ...source, grid: (step) => [numTiles(step.rows), numKvHeads, 1] };
    },
  },
];
