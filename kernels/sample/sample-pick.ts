/** @file `samplePick`: chooses the next token from the penalised logits, in one workgroup. */
import { type KernelVariant, wgslFile } from '../../src/gpu/kernel.ts';
import { orderedKey } from '../lib/ordered-key.ts';
import { batchRows, tokensFile } from '../lib/rows.ts';
import randomText from './random.wgsl?raw';
import pickText from './sample-pick.wgsl?raw';
import searchText from './search.wgsl?raw';
import { fixedPoint, gridOf, records, rowFlags, sampledRows, slotConsts } from './shared.ts';

const body = wgslFile('kernels/sample/sample-pick.wgsl', pickText);
const parts = [
  orderedKey,
  records,
  fixedPoint,
  wgslFile('kernels/sample/random.wgsl', randomText),
  wgslFile('kernels/sample/search.wgsl', searchText),
];

const NUM_LANES = 256;
/** Blocks that workgroup memory has room for; `sample` in graph/ops/sample.ts chooses their size so that no vocabulary has more. */
const MAX_BLOCKS = 512;

export const samplePick: readonly KernelVariant<'samplePick'>[] = [
  {
    name: 'workgroup',
    // A vec4 of the chosen block per lane.
    when: ({ inputs, attrs }) => attrs.blockSize <= 4 * NUM_LANES && inputs.blocks.shape[1]! <= MAX_BLOCKS,
    build: ({ inputs, attrs, outputs }) => {
      const { logits, scaled, blocks, sampling, batch } = inputs;
      const { sampled, counts, result } = outputs;
      const rows = batchRows(batch);
      return {
        body,
        parts: [...parts, rows.part, tokensFile, sampledRows],
        consts: {
          ...rows.consts,
          ...slotConsts({ counts: counts?.rowStride ?? 0 }),
          sampled_stride: sampled.rowStride,
          scaled_stride: scaled.rowStride / 4,
          num_blocks: blocks.shape[1]!,
          max_blocks: MAX_BLOCKS,
          block_vec4s: attrs.blockSize / 4,
          num_lanes: NUM_LANES,
          logits_offset: logits.offset / 4,
          logits_stride: logits.rowStride / 4,
          ahead: attrs.ahead,
        },
        flags: {
          ...rowFlags(attrs),
          is_guessed: attrs.isGuessed,
          is_counted: counts !== undefined,
        },
        bindings: {
          batch_table: rows.binding,
          logits: { tensor: logits, type: 'vec4<f32>' },
          scaled: { tensor: scaled, type: 'vec4<f32>' },
          blocks: { tensor: blocks, type: 'Block' },
          sampling: { tensor: sampling, type: 'Sampling' },
          sampled: { tensor: sampled, type: 'u32', access: 'read_write' },
          result: { tensor: result, type: 'Result', access: 'read_write' },
          ...(counts && { counts: { tensor: counts, type: 'u32', access: 'read_write' } }),
        },
        grid: gridOf(1, attrs),
      };
    },
  },
];
