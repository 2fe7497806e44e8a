/** @file `combineExperts`: the weighted sum over the slots of a row. */
import type { KernelVariant } from '../../src/gpu/kernel.ts';

export const combineExperts: readonly KernelVariant<'combineExperts'>[] = [];
