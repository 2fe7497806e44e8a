/** @file `attendMerge`: brings the partial results of all splits to one scale and adds them up. */
import { type KernelVariant, wgslFile } from '../../src/gpu/kernel.ts';
import { batchRows } from '../lib/rows.ts';
import attendMergeText from './attend-merge.wgsl?raw';
import { splitConsts, splitFile } from './split.ts';
import { walkOf } from './walk.ts';

const body = wgslFile('kernels/attention/attend-merge.wgsl', attendMergeText);

const THREADS = 128;
/** Where values are so long that THREADS are one slot. */
const MAX_THREADS = 256;

function numSlots(vVec4s: number): number {
  return Math.floor((2 * vVec4s > THREADS ? MAX_THREADS : THREADS) / vVec4s);
}

export const attendMerge: readonly KernelVariant<'attendMerge'>[] = [
  {
    name: 'slots',
    when: (op) => op.outputs.out.shape[1]! / op.inputs.partials.shape[1]! / 4 <= MAX_THREADS,
    build(op) {
      const { partials, batch } = op.inputs;
      const { out } = op.outputs;
      const numHeads = partials.shape[1]!;
      const vVec4s = out.shape[1]! / numHeads / 4;
      const rows = batchRows(batch);
      const walk = walkOf(op.attrs.window);
      return {
        body,
        parts: [rows.part, walk.part, splitFile],
        consts: {
          ...rows.consts,
          ...walk.consts,
          ...splitConsts(op.attrs),
          v_vec4s: vVec4s,
          num_slots: numSlots(vVec4s),
          width: partials.shape[3]! / 4,
          partials_stride: partials.rowStride / 4,
          out_offset: out.offset / 4,
          out_stride: out.rowStride / 4,
        },
        bindings: {
          batch_table: rows.binding,
          partials: { tensor: partials, type: 'vec4<f32>' },
          out: { tensor: out, type: 'vec4<f32>', access: 'read_write' },
        },
        grid: (batch) => [numHeads, batch.rows, 1],
      };
    },
  },
];
