/** @file What every linear kernel shares: the WGSL at its end, and the bindings and constants that it needs. */
import { type Binding, type Const, vectorBinding, wgslFile } from '../../src/gpu/kernel.ts';
import type { Tensor } from '../../src/graph/graph.ts';
import type { Weight } from '../../src/graph/weight.ts';
import { swigluFile } from '../lib/swiglu.ts';
import epilogueText from './epilogue.wgsl?raw';

/** Parts to put before the body of a linear. */
export const epilogueParts = [swigluFile, wgslFile('kernels/linear/epilogue.wgsl', epilogueText)];

/** Where the sums of a linear go, and what is done to them on the way. */
export interface Ending {
  readonly out: Tensor;
  readonly activation: 'none' | 'swiglu';
  readonly bias?: Weight | undefined;
  readonly residual?: Tensor | undefined;
  /** Adds to what an earlier dispatch wrote to `out`. */
  readonly adds?: boolean;
}

/** Flags, constants, aliases and bindings of epilogue.wgsl; `out` comes last of the bindings. */
export function epilogue({ out, activation, bias, residual, adds = false }: Ending): {
  flags: Record<string, boolean>;
  consts: Record<string, Const>;
  aliases: Record<string, string>;
  bindings: Record<string, Binding>;
} {
  const hasSwiglu = activation === 'swiglu';
  // Four weight rows are two columns with swiglu, else four.
  const width = hasSwiglu ? 2 : 4;
  const type = `vec${width}<f32>`;
  return {
    flags: { bias: bias !== undefined, residual: residual !== undefined, swiglu: hasSwiglu, adds },
    consts: {
      out_stride: out.rowStride / width,
      ...(residual && {
        residual_offset: residual.offset / width,
        residual_stride: residual.rowStride / width,
      }),
    },
    aliases: { out_vec: type },
    bindings: {
      ...(bias && { bias: vectorBinding(bias) }),
      ...(residual && { residual: { tensor: residual, type } }),
      out: { tensor: out, type, access: 'read_write' },
    },
  };
}
