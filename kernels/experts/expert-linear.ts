/** @file The kernels of `expertLinear`: matvec from the chosen experts for few rows, grouped tiles for many. */
import type { KernelVariant } from '../../src/gpu/kernel.ts';

export const expertLinear: readonly KernelVariant<'expertLinear'>[] = [];
