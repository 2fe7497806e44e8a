/** @file The kernels of `linear`, in order of preference: matvec for few rows, tiles for many. */
import type { KernelVariant } from '../../src/gpu/kernel.ts';
import { matvecVariants } from './matvec.ts';
import { tileVariants } from './tile.ts';

export const linear: readonly KernelVariant<'linear'>[] = [...matvecVariants, ...tileVariants];
