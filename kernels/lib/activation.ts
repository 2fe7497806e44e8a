/** @file The activations as parts, each of which defines `activate`: for `gate` and for the epilogue of `linear`. */
import { type WgslFile, wgslFile } from '../../src/gpu/kernel.ts';
import type { Activation } from '../../src/graph/activation.ts';
import geluText from './gelu.wgsl?raw';
import geluTanhText from './gelu-tanh.wgsl?raw';
import siluText from './silu.wgsl?raw';

export const activationFiles: Readonly<Record<Activation, WgslFile>> = {
  silu: wgslFile('kernels/lib/silu.wgsl', siluText),
  gelu: wgslFile('kernels/lib/gelu.wgsl', geluText),
  gelu_tanh: wgslFile('kernels/lib/gelu-tanh.wgsl', geluTanhText),
};
