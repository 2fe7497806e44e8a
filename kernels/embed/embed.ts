/** @file The kernel of `embed`: looks rows up in a table of any weight format, split into parts. */
import { f32, type KernelVariant, weightBindings, wgslFile } from '../../src/gpu/kernel.ts';
import { batchRows, tokensFile } from '../lib/rows.ts';
import embedText from './embed.wgsl?raw';

const body = wgslFile('kernels/embed/embed.wgsl', embedText);
const LANES = 64;

export const embed: readonly KernelVariant<'embed'>[] = [
  {
    name: 'blocks',
    when: () => true,
    build(op, { part }) {
      const { batch, sampled } = op.inputs;
      const rows = batchRows(batch);
      const { weight } = op.weights;
      const { out } = op.outputs;
      const rowBlocks = Math.ceil(weight.cols / weight.format.blockSize);
      return {
        body,
        parts: [weight.format.fragment, rows.part, tokensFile],
        flags: { scale: op.attrs.scale !== 1 },
        consts: {
          ...rows.consts,
          ...(op.attrs.scale !== 1 && { embed_scale: f32(op.attrs.scale) }),
          sampled_stride: sampled.rowStride,
          out_stride: out.rowStride / 4,
          cols: weight.cols,
          part_begin: part.begin,
          weight_rows: part.rows,
          table_rows: weight.rows,
          weight_row_blocks: rowBlocks,
          num_lanes: LANES,
        },
        bindings: {
          batch_table: rows.binding,
          sampled: { tensor: sampled, type: 'u32' },
          ...weightBindings(weight),
          out: { tensor: out, type: 'vec4<f32>', access: 'read_write' },
        },
        grid: (batch) => [Math.ceil(rowBlocks / LANES), batch.rows, 1],
      };
    },
  },
];
