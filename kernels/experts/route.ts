/** @file `route`: ranks the experts of each row. */
import type { KernelVariant } from '../../src/gpu/kernel.ts';

export const route: readonly KernelVariant<'route'>[] = [];
