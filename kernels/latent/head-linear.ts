/** @file `headLinear`: a matrix of its own for each head. */
import type { KernelVariant } from '../../src/gpu/kernel.ts';

export const headLinear: readonly KernelVariant<'headLinear'>[] = [];
