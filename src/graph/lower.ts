/**
 * @file Rules that add dispatches for the sake of kernels: work is sorted or cut in parts so that it fills a GPU. The result
 * is the same.
 */
import { BLOCK_LENGTH } from './batch.ts';
import { createTensor, type Tensor } from './graph.ts';
import { FEW_ROWS, type Rule } from './op-list.ts';
import type { AttendOp } from './ops/attention.ts';
import type { EntryTiles, ExpertLinearOp, RouteOp } from './ops/experts.ts';

/**
 * Splits of decode attention: short ones, so that a short context fills a GPU too, until kv heads (or every so many query
 * heads that share one) and splits are as many workgroups as fill the device. From there on splits grow with the context:
 * what a split begins and ends with is paid for by more positions.
 */
const SPLIT_LENGTH = BLOCK_LENGTH;
const WORKGROUP_HEADS = 16;
/** What the widest GPUs may need. */
export const MAX_WORKGROUPS = 512;
/** All partial results of an op: 64 splits of 128 heads of 512 values in 8 rows would be 135 MB, more than a binding may have. */
const MAX_PARTIAL_BYTES = 2 ** 25;

/**
 * A tile of the grouped matmul of experts. 256 rows that choose 8 of 128 experts give each 16 entries: with 32 rows most
 * experts have one tile, so that their weights are unpacked once, and the threads of rows that a tile lacks rest.
 */
export const EXPERT_TILE: EntryTiles = { tileRows: 32, tileCols: 64 };

/** Many rows: the entries of all rows are sorted by expert, so that an expert's weights are read once for a tile of them. */
export const groupByExpert: Rule<'route'> = {
  name: 'rows grouped by expert',
  kind: 'route',
  apply(op: RouteOp, ops) {
    const { experts } = op.outputs;
    const [rows, k] = experts.shape as [number, number];
    const linears = ops.consumers(experts).filter((o): o is ExpertLinearOp => o.kind === 'expertLinear');
    const [first] = linears;
    if (rows <= FEW_ROWS || !first) return;
    const { graph } = ops;
    const { weight } = first.weights;
    const numExperts = weight.rows / weight.unitRows;
    const { tileRows, tileCols } = EXPERT_TILE;
    // Each expert may leave one tile that is not full.
    const maxTiles = Math.min(rows * k, Math.floor((rows * k) / tileRows) + numExperts);
    const tensor = (shape: number[], name: string): Tensor =>
      createTensor(graph, shape, { dtype: 'u32', name: `${op.scope}.${name}` });
    const grouped = {
      entries: tensor([rows * k], 'entries'),
      tiles: tensor([maxTiles, 4], 'tiles'),
      dispatch: tensor([4], 'dispatch'),
    };
    const columnTiles = Math.max(...linears.map((l) => Math.ceil(l.weights.weight.unitRows / tileCols)));
    ops.replace([op], op, {
      kind: 'groupEntries',
      scope: op.scope,
      inputs: { experts },
      weights: {},
      attrs: { numExperts, tileRows, columnTiles },
      outputs: grouped,
    });
    for (const linear of linears) {
      ops.replace([linear], {
        ...linear,
        inputs: { ...linear.inputs, ...grouped },
        attrs: { ...linear.attrs, tile: EXPERT_TILE },
      });
    }
  },
};

/** Attention of few rows is split over the context, so that one token fills the GPU. */
export const splitAttention: Rule<'attend'> = {
  name: 'attention split over the context',
  kind: 'attend',
  apply(op: AttendOp, ops) {
    const { q, keys, values, batch } = op.inputs;
    const { window } = op.attrs;
    const [rows, heads] = q.shape as [number, number, number];
    const seen = Math.min(ops.graph.layout.capacity, (window ?? Number.POSITIVE_INFINITY) + BLOCK_LENGTH);
    if (rows > FEW_ROWS) return;
    const splitLength = SPLIT_LENGTH;
    const width = Math.ceil((values.shape[2]! + 2) / 4) * 4;
    const fitting = Math.max(1, Math.floor(MAX_PARTIAL_BYTES / (rows * heads * width * 4)));
    const groups = Math.max(keys.shape[1]!, Math.ceil(heads / WORKGROUP_HEADS));
    const filling = Math.ceil(MAX_WORKGROUPS / groups);
    const maxSplits = Math.min(filling, fitting, Math.ceil(seen / splitLength));
    const partials = createTensor(ops.graph, [rows, heads, maxSplits, width], {
      name: `${op.scope}.partials`,
    });
    const { scope } = op;
    ops.replace(
      [op],
      {
        kind: 'attendSplit',
        scope,
        inputs: { q, keys, values, batch },
        weights: {},
        attrs: { scale: op.attrs.scale, splitLength, maxSplits, groups, window },
        outputs: { partials },
      },
      {
        kind: 'attendMerge',
        scope,
        inputs: { partials, batch },
        weights: {},
        attrs: { splitLength, maxSplits, groups, window },
        outputs: op.outputs,
      },
    );
  },
};
