/** @file `groupEntries`: sorts entries by expert and lays out the tiles of the grouped matmul. */
import type { KernelVariant } from '../../src/gpu/kernel.ts';

export const groupEntries: readonly KernelVariant<'groupEntries'>[] = [];
