/** @file What rows see of their context, as a part of attention kernels: one file for each kind of walk. */
import { type Const, type WgslFile, wgslFile } from '../../src/gpu/kernel.ts';
import causalText from './walk-causal.wgsl?raw';
import windowText from './walk-window.wgsl?raw';

const causal = wgslFile('kernels/attention/walk-causal.wgsl', causalText);
const windowed = wgslFile('kernels/attention/walk-window.wgsl', windowText);

/** The part and constants for a window of so many positions, or for all. */
export const walkOf = (window: number | undefined): { part: WgslFile; consts: Record<string, Const> } =>
  window === undefined ? { part: causal, consts: {} } : { part: windowed, consts: { window } };
