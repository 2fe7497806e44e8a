/** @file Values of named tensors for looking inside: programs of their own, over a cache of their own. Knows no text. */
import { kernels } from '../../../kernels/index.ts';
import { readBuffer } from '../../gpu/buffers.ts';
import type { GpuContext } from '../../gpu/device.ts';
import { BLOCK_LENGTH } from '../../graph/batch.ts';
import { rowSize } from '../../graph/graph.ts';
import type { GpuWeights } from '../../weights/upload.ts';
import { Executor, type ExecutorOptions } from '../program/executor.ts';
import {
  type InspectionPlan,
  layoutOf,
  type ModelSpec,
  type PlanOptions,
  recordInspection,
} from '../program/plans.ts';
import { type BatchSequence, BatchWriter, countsOf } from './batch.ts';

export interface Inspected {
  /** Rows are the positions of the ids. */
  shape: [rows: number, cols: number];
  data: Float32Array;
}

/** Runs the model over all ids, `rows` at a time. */
export async function runInspection(
  gpu: GpuContext,
  weights: GpuWeights,
  spec: ModelSpec,
  names: readonly string[],
  ids: readonly number[],
  rows: number,
  options: PlanOptions & Omit<ExecutorOptions, 'unitsOf' | 'borrow'>,
): Promise<Map<string, Inspected>> {
  const wide = { ...options, prefillRows: Math.max(rows, options.prefillRows) };
  const { model, draft } = recordInspection(spec, wide, names, rows);
  const numBlocks = Math.ceil(ids.length / BLOCK_LENGTH);
  const plans = { model: model.plan, ...(draft && { draft: draft.plan }) };
  const executor = await Executor.create<'model' | 'draft'>(gpu, weights, plans, kernels, {
    ...options,
    unitsOf: ({ kind }) => (kind === 'kv' ? numBlocks : 1),
  });
  try {
    const writer = new BatchWriter(layoutOf(spec.config, wide), spec.config.rope, (words, first) =>
      gpu.device.queue.writeBuffer(executor.buffer('batch'), 4 * first, words),
    );
    const blocks = Array.from({ length: numBlocks }, (_, block) => block);
    spec.config.windows.forEach((_, group) => {
      writer.writeTable(0, group, 0, blocks);
    });
    const found = new Map<string, Inspected>();
    const run = async (name: 'model' | 'draft', { kept }: InspectionPlan, part: BatchSequence) => {
      writer.write([part]);
      executor.submit(name, countsOf([part], executor.workgroups));
      for (const [tensorName, tensor] of kept) {
        const cols = rowSize(tensor);
        const values = new Float32Array(await readBuffer(gpu.buffers, executor.stepBuffer(name, tensor)));
        const of = found.get(tensorName) ?? {
          shape: [ids.length, cols],
          data: new Float32Array(ids.length * cols),
        };
        found.set(tensorName, of);
        part.tokens.forEach((_, r) => {
          of.data.set(
            values.subarray(r * tensor.rowStride, r * tensor.rowStride + cols),
            (part.position + r) * cols,
          );
        });
      }
    };
    for (let position = 0; position < ids.length; position += rows) {
      const tokens = ids.slice(position, position + rows);
      const part = { slot: 0, position, tokens, length: ids.length };
      await run('model', model, part);
      // Nobody knows what follows the last id: any token does.
      if (draft) {
        await run('draft', draft, { ...part, tokens: tokens.map((_, i) => ids[position + i + 1] ?? 0) });
      }
    }
    return found;
  } finally {
    executor.dispose();
  }
}
