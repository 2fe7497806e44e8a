/** @file `tokenLogprob`: what the softmax of each row of logits says of one token. */
import { type KernelVariant, wgslFile } from '../../src/gpu/kernel.ts';
import { rowSize } from '../../src/graph/graph.ts';
import { orderedKey } from '../lib/ordered-key.ts';
import { batchRows } from '../lib/rows.ts';
import { fixedPoint } from './shared.ts';
import text from './token-logprob.wgsl?raw';

const body = wgslFile('kernels/sample/token-logprob.wgsl', text);

export const tokenLogprob: readonly KernelVariant<'tokenLogprob'>[] = [
  {
    name: 'row',
    when: () => true,
    build({ inputs: { logits, batch }, outputs: { said } }) {
      const rows = batchRows(batch);
      return {
        body,
        parts: [orderedKey, fixedPoint, rows.part],
        consts: {
          ...rows.consts,
          vocab: rowSize(logits),
          logits_offset: logits.offset / 4,
          logits_stride: logits.rowStride / 4,
          num_lanes: 256,
        },
        bindings: {
          batch_table: rows.binding,
          logits: { tensor: logits, type: 'vec4<f32>' },
          said: { tensor: said, type: 'vec4<u32>', access: 'read_write' },
        },
        grid: (counts) => [counts.rows, 1, 1],
      };
    },
  },
];
