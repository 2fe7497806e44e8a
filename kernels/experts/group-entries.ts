/** @file `groupEntries`: sorts entries by expert and lays out the tiles of the grouped matmul. */
import { type KernelVariant, wgslFile } from '../../src/gpu/kernel.ts';
import { rowSize } from '../../src/graph/graph.ts';
import text from './group-entries.wgsl?raw';

const body = wgslFile('kernels/experts/group-entries.wgsl', text);
const LANES = 256;

export const groupEntries: readonly KernelVariant<'groupEntries'>[] = [
  {
    name: 'workgroup',
    when: () => true,
    build({ inputs: { experts }, attrs, outputs: { entries, tiles, dispatch } }) {
      return {
        body,
        consts: {
          experts_offset: experts.offset / 4,
          experts_stride: experts.rowStride / 4,
          num_slots: rowSize(experts),
          num_experts: attrs.numExperts,
          tile_rows: attrs.tileRows,
          column_tiles: attrs.columnTiles,
          num_lanes: LANES,
        },
        bindings: {
          experts: { tensor: experts, type: 'vec4<u32>' },
          entries: { tensor: entries, type: 'u32', access: 'read_write' },
          tiles: { tensor: tiles, type: 'vec4<u32>', access: 'read_write' },
          dispatch: { tensor: dispatch, type: 'vec4<u32>', access: 'read_write' },
        },
        grid: () => [1, 1, 1],
      };
    },
  },
];
