/** @file Values of named tensors for looking inside: a program of its own, over the caches of a session. Knows no text. */
import { kernels } from '../../kernels/index.ts';
import { readBuffer } from '../gpu/buffers.ts';
import type { GpuContext } from '../gpu/device.ts';
import { rowSize } from '../graph/graph.ts';
import { ropeAngles } from '../graph/rope.ts';
import type { GpuWeights } from '../weights/upload.ts';
import { createExecutor, type ExecutorOptions } from './executor.ts';
import { ANGLES, type InspectionPlan, type ModelSpec, NEXT_TOKENS, TOKENS } from './recording.ts';

export interface Inspected {
  /** Rows are the positions of the ids. */
  shape: [rows: number, cols: number];
  data: Float32Array;
}

/** Runs the plan over all ids, `rows` at a time. It overwrites the caches, which `options.borrow` gives. */
export async function runInspection(
  gpu: GpuContext,
  weights: GpuWeights,
  { config }: ModelSpec,
  { plan, kept, hasDraft }: InspectionPlan,
  ids: readonly number[],
  rows: number,
  options: ExecutorOptions,
): Promise<Map<string, Inspected>> {
  const executor = await createExecutor(gpu, weights, { inspect: plan }, kernels, options);
  try {
    const found = new Map<string, Inspected>();
    for (const [name, tensor] of kept) {
      const cols = rowSize(tensor);
      found.set(name, { shape: [ids.length, cols], data: new Float32Array(ids.length * cols) });
    }
    for (let position = 0; position < ids.length; position += rows) {
      const chunk = ids.slice(position, position + rows);
      const write = (name: string, words: GPUAllowSharedBufferSource): void =>
        gpu.device.queue.writeBuffer(executor.state.buffer(name), 0, words);
      write(TOKENS, Uint32Array.from(chunk));
      // Nobody knows what follows the last id: any token does.
      if (hasDraft)
        write(
          NEXT_TOKENS,
          Uint32Array.from(chunk, (_, i) => ids[position + i + 1] ?? 0),
        );
      write(ANGLES, ropeAngles(config.rope, position, chunk.length, ids.length));
      executor.submit('inspect', { rows: chunk.length, position });
      for (const [name, tensor] of kept) {
        const buffer = executor.stepBuffer('inspect', tensor);
        const values = new Float32Array(await readBuffer(gpu.buffers, buffer));
        const { shape, data } = found.get(name)!;
        for (let r = 0; r < chunk.length; r++) {
          const row = values.subarray(r * tensor.rowStride, r * tensor.rowStride + shape[1]);
          data.set(row, (position + r) * shape[1]);
        }
      }
    }
    return found;
  } finally {
    executor.dispose();
  }
}
