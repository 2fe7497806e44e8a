/** @file `sampleScale`: penalties, bias and mask on the logits of the next token, and a summary of each block of the vocabulary. */
import { type KernelVariant, wgslFile } from '../../src/gpu/kernel.ts';
import { rowSize } from '../../src/graph/graph.ts';
import { orderedKey } from '../lib/ordered-key.ts';
import { batchRows } from '../lib/rows.ts';
import text from './sample-scale.wgsl?raw';
import { fixedPoint, gridOf, records, rowFlags, sampledRows, slotConsts } from './shared.ts';

const body = wgslFile('kernels/sample/sample-scale.wgsl', text);

export const sampleScale: readonly KernelVariant<'sampleScale'>[] = [
  {
    name: 'blocks',
    // A vec4 of the block per lane.
    when: ({ attrs }, device) => attrs.blockSize <= 4 * device.maxWorkgroupInvocations,
    build: ({ inputs, attrs, outputs }) => {
      const { logits, sampling, counts, bias, mask, batch } = inputs;
      const { scaled, blocks } = outputs;
      const vocab = rowSize(logits);
      const rows = batchRows(batch);
      const numBlocks = blocks.shape[1]!;
      return {
        body,
        parts: [orderedKey, records, fixedPoint, rows.part, sampledRows],
        consts: {
          ...rows.consts,
          ...slotConsts({
            counts: counts.rowStride / 4,
            bias: bias.rowStride / 4,
            mask: mask.rowStride,
          }),
          vocab,
          num_blocks: numBlocks,
          scaled_stride: scaled.rowStride / 4,
          num_lanes: attrs.blockSize / 4,
          logits_offset: logits.offset / 4,
          logits_stride: logits.rowStride / 4,
        },
        flags: rowFlags(attrs),
        bindings: {
          batch_table: rows.binding,
          logits: { tensor: logits, type: 'vec4<f32>' },
          sampling: { tensor: sampling, type: 'Sampling' },
          counts: { tensor: counts, type: 'vec4<u32>' },
          bias: { tensor: bias, type: 'vec4<f32>' },
          mask: { tensor: mask, type: 'u32' },
          scaled: { tensor: scaled, type: 'vec4<f32>', access: 'read_write' },
          blocks: { tensor: blocks, type: 'Block', access: 'read_write' },
        },
        grid: gridOf(numBlocks, attrs),
      };
    },
  },
];
