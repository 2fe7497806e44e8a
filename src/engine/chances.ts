/**
 * @file The likeliest tokens in the place of each that a step samples: programs of their own behind those of steps, over the
 * logits that the step has left. Loaded when somebody asks. It must not know conversations or text.
 */

import type { SampleResult } from '../../kernels/sample/layout.ts';
import { topLogits as kernel } from '../../kernels/sample/top-logits.ts';
import { createReadbackRing } from '../gpu/buffers.ts';
import type { GpuContext } from '../gpu/device.ts';
import type { StepRows } from '../gpu/kernel.ts';
import { createGraph, sessionTensor, type Tensor } from '../graph/graph.ts';
import type { SamplePickOp } from '../graph/ops/sample.ts';
import { topLogits } from '../graph/ops/top-logits.ts';
import { planGraph } from '../graph/plan.ts';
import type { GpuWeights } from '../weights/upload.ts';
import { createExecutor, type Executor } from './executor.ts';
import type { Plans } from './recording.ts';
import type { TokenChance } from './types.ts';

/** As many as may be asked for. */
const MAX_TOP = 20;
const ENTRY_WORDS = 2;
const NO_ID = 0xffff_ffff;

/** Of a row of a step, whose token was sampled as told: so many of the likeliest, fewer where no more are possible. */
export type TopOfRows = (row: number, sampled: SampleResult, count: number) => TokenChance[];

export interface TopReader {
  /** To be called at once behind the submit of a step that samples. */
  read(name: keyof Plans, step: StepRows): Promise<TopOfRows>;
}

export interface Chances extends TopReader {
  dispose(): void;
}

/** @param maxInFlight readbacks that may wait at a time */
export async function createChances(
  gpu: GpuContext,
  weights: GpuWeights,
  steps: Executor<keyof Plans>,
  plans: Plans,
  maxInFlight: number,
): Promise<Chances> {
  const logits = new Map<keyof Plans, Tensor>();
  const tops = new Map<keyof Plans, Tensor>();
  const topPlans: { -readonly [N in keyof Plans]?: NonNullable<Plans[N]> } = {};
  for (const name of ['decode', 'prefill', 'verify'] as const) {
    const pick = plans[name]?.graph.ops.findLast((op): op is SamplePickOp => op.kind === 'samplePick');
    // Steps that draft with a module have no `decode`.
    if (!pick || !steps.program(name)) continue;
    const graph = createGraph(() => {
      throw new RangeError('the likeliest tokens need no weight');
    });
    graph.scope = 'top';
    const { shape } = pick.inputs.logits;
    const top = topLogits(sessionTensor(graph, name, shape, 'f32'), MAX_TOP);
    logits.set(name, pick.inputs.logits);
    tops.set(name, top);
    topPlans[name] = planGraph(graph, { keep: [top] });
  }
  const executor = await createExecutor<keyof Plans>(
    gpu,
    weights,
    topPlans,
    { topLogits: kernel },
    {
      // The sampler is a step's last reader of its logits, so they are there until the next step.
      borrow: (name) => steps.stepBuffer(name as keyof Plans, logits.get(name as keyof Plans)!),
    },
  );
  const rowWords = MAX_TOP * ENTRY_WORDS;
  const maxRows = Math.max(...[...tops.values()].map(({ shape }) => shape[0]!));
  const ring = createReadbackRing(gpu.buffers, 4 * rowWords * maxRows, maxInFlight);
  return {
    async read(name, step) {
      const top = tops.get(name)!;
      const rows = Math.min(step.rows, top.shape[0]!);
      const buffer = executor.stepBuffer(name, top);
      const read = executor.submit(
        name,
        { ...step, rows },
        { after: (encoder) => ring.copy(encoder, buffer, 4 * rowWords * rows) },
      );
      const words = await read();
      return (row, { modelNormalizer }, count) => {
        const first = rowWords * row;
        const ids = words.subarray(first, first + rowWords);
        const values = new Float32Array(words.buffer, 4 * first, rowWords);
        const found: TokenChance[] = [];
        for (let i = 0; i < ENTRY_WORDS * count && ids[i] !== NO_ID; i += ENTRY_WORDS) {
          found.push({ id: ids[i]!, logprob: values[i + 1]! - values[1]! - Math.log(modelNormalizer) });
        }
        return found;
      };
    },
    dispose() {
      ring.dispose();
      executor.dispose();
    },
  };
}
