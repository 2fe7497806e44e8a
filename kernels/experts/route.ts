/** @file `route`: ranks the experts of each row. */
import { type Binding, f32, type KernelVariant, vectorBinding, wgslFile } from '../../src/gpu/kernel.ts';
import { rowSize } from '../../src/graph/graph.ts';
import { foldGrid } from '../lib/grid.ts';
import { orderedKey } from '../lib/ordered-key.ts';
import { sigmoidFile } from '../lib/sigmoid.ts';
import text from './route.wgsl?raw';

const body = wgslFile('kernels/experts/route.wgsl', text);

/** Rows share a workgroup up to so many lanes. */
const LANES = 64;

export const route: readonly KernelVariant<'route'>[] = [
  {
    name: 'rank',
    // A lane has four experts; and only sigmoid scores are chosen with a bias.
    when: ({ inputs, weights, attrs }, device) =>
      rowSize(inputs.logits) <= 4 * device.maxWorkgroupInvocations &&
      (!weights.bias || attrs.scoring === 'sigmoid'),
    build({ inputs: { logits }, weights, attrs, outputs: { experts, scales } }, { device }) {
      const rowLanes = Math.ceil(rowSize(logits) / 4);
      const groupRows = Math.max(1, Math.floor(LANES / rowLanes));
      const isSoftmax = attrs.scoring === 'softmax';
      const bindings: Record<string, Binding> = { logits: { tensor: logits, type: 'f32' } };
      if (weights.bias) bindings.bias = vectorBinding(weights.bias);
      bindings.experts = { tensor: experts, type: 'u32', access: 'read_write' };
      bindings.scales = { tensor: scales, type: 'u32', access: 'read_write' };
      return {
        body,
        parts: [orderedKey, sigmoidFile],
        flags: {
          softmax: isSoftmax,
          has_bias: weights.bias !== undefined,
          has_groups: attrs.keptGroups < attrs.numGroups,
          group_best_two: attrs.groupBest === 2,
          normalize: attrs.normalize,
          total: isSoftmax && !attrs.normalize,
        },
        consts: {
          logits_offset: logits.offset,
          logits_stride: logits.rowStride,
          out_stride: experts.rowStride,
          num_experts: rowSize(logits),
          num_slots: attrs.k,
          num_groups: attrs.numGroups,
          kept_groups: attrs.keptGroups,
          scale: f32(attrs.scale),
          num_lanes: groupRows * rowLanes,
          grid_width: device.maxGridSize,
        },
        bindings,
        grid: (batch) => foldGrid(Math.ceil(batch.rows / groupRows), device.maxGridSize),
      };
    },
  },
];
