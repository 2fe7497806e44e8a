/** @file What every linear kernel shares: the WGSL at its end, and the bindings and constants that it needs. */
import {
  type Binding,
  type Const,
  f32,
  vectorBinding,
  type WgslFile,
  wgslFile,
} from '../../src/gpu/kernel.ts';
import type { Activation } from '../../src/graph/activation.ts';
import type { Tensor } from '../../src/graph/graph.ts';
import type { Weight } from '../../src/graph/weight.ts';
import { activationFiles } from '../lib/activation.ts';
import epilogueText from './epilogue.wgsl?raw';

const epilogueFile = wgslFile('kernels/linear/epilogue.wgsl', epilogueText);

/** Where the sums of a linear go, and what is done to them on the way. */
export interface Ending {
  readonly out: Tensor;
  /** Of two neighbouring columns one is left. */
  readonly gate?: Activation | undefined;
  readonly bias?: Weight | undefined;
  readonly residual?: Tensor | undefined;
  /** What is multiplied with the sums, the bias included; 1 when absent. */
  readonly scale?: number;
  /** Adds to what an earlier dispatch wrote to `out`. */
  readonly adds?: boolean;
}

/** epilogue.wgsl with what it needs: parts to put before a body, flags, constants, aliases and bindings, of which `out` comes last. */
export function epilogue({ out, gate, bias, residual, scale = 1, adds = false }: Ending): {
  parts: WgslFile[];
  flags: Record<string, boolean>;
  consts: Record<string, Const>;
  aliases: Record<string, string>;
  bindings: Record<string, Binding>;
} {
  // Four weight rows are two columns with a gate, else four.
  const width = gate ? 2 : 4;
  const type = `vec${width}<f32>`;
  return {
    parts: gate ? [activationFiles[gate], epilogueFile] : [epilogueFile],
    flags: {
      bias: bias !== undefined,
      residual: residual !== undefined,
      gate: gate !== undefined,
      scale: scale !== 1,
      adds,
    },
    consts: {
      out_offset: out.offset / width,
      out_stride: out.rowStride / width,
      ...(scale !== 1 && { out_scale: f32(scale) }),
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
