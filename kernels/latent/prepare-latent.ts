/** @file `prepareLatent`: the latent cache append, and queries in terms of the latent. */
import type { KernelVariant } from '../../src/gpu/kernel.ts';

export const prepareLatent: readonly KernelVariant<'prepareLatent'>[] = [];
