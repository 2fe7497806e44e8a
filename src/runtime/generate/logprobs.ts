/**
 * @file The likeliest tokens in the place of each that a pass samples: programs of their own that run after it, over the logits that it
 * has left. Loaded when somebody asks. It must not know sequences or text.
 */

import type { SampleResult } from '../../../kernels/sample/layout.ts';
import { topLogits as kernel } from '../../../kernels/sample/top-logits.ts';
import { createReadbackRing, type ReadbackRing } from '../../gpu/buffers.ts';
import type { GpuContext } from '../../gpu/device.ts';
import type { BatchCounts } from '../../gpu/kernel.ts';
import { createGraph, sessionTensor, type Tensor } from '../../graph/graph.ts';
import { FEW_ROWS } from '../../graph/op-list.ts';
import type { SamplePickOp } from '../../graph/ops/sample.ts';
import { topLogits } from '../../graph/ops/top-logits.ts';
import { planGraph } from '../../graph/plan.ts';
import { Executor, type PassWeights } from '../program/executor.ts';
import type { ProgramName } from '../program/plans.ts';
import type { IdLogprob } from '../types.ts';

/** As many as may be asked for. */
const MAX_TOP = 20;
const ENTRY_WORDS = 2;
const ROW_WORDS = MAX_TOP * ENTRY_WORDS;
const NO_ID = 0xffff_ffff;

/** Of a row of results, whose token was sampled as told: so many of the likeliest, fewer where no more are possible. */
export type TopOfRows = (row: number, sampled: SampleResult, count: number) => IdLogprob[];

export class LogprobReader {
  readonly #executor: Executor<'top'>;
  readonly #top: Tensor;
  readonly #ring: ReadbackRing;
  readonly #passes: Executor<ProgramName>;
  /** Whose logits are read, and the buffer that they were bound from. */
  #source: ProgramName = 'rows1';
  #bound: GPUBuffer | undefined;

  private constructor(
    executor: Executor<'top'>,
    top: Tensor,
    ring: ReadbackRing,
    passes: Executor<ProgramName>,
  ) {
    this.#executor = executor;
    this.#top = top;
    this.#ring = ring;
    this.#passes = passes;
  }

  /** @param maxInFlight readbacks that may wait at a time */
  static async create(
    gpu: GpuContext,
    passes: Executor<ProgramName>,
    vocabSize: number,
    maxInFlight: number,
  ): Promise<LogprobReader> {
    const graph = createGraph(() => {
      throw new RangeError('the likeliest tokens need no weight');
    });
    graph.scope = 'top';
    const top = topLogits(
      sessionTensor(graph, LOGITS, [FEW_ROWS, vocabSize], 'f32', { kind: 'carry' }),
      MAX_TOP,
    );
    const plan = planGraph(graph, { keep: [top] });
    let reader: LogprobReader | undefined;
    const executor = await Executor.create<'top'>(
      gpu,
      NO_WEIGHTS,
      { top: plan },
      { topLogits: kernel },
      {
        borrow: () => reader?.logits() ?? logitsOf(passes, 'rows1'),
      },
    );
    const ring = createReadbackRing(gpu.buffers, 4 * ROW_WORDS * FEW_ROWS, maxInFlight);
    reader = new LogprobReader(executor, top, ring, passes);
    return reader;
  }

  /** The logits that are read next. */
  logits(): GPUBuffer {
    return logitsOf(this.#passes, this.#source);
  }

  /** To be called at once after the submit of a pass that samples: the likeliest of its first rows of logits. */
  async read(name: ProgramName, batch: BatchCounts, rows: number): Promise<TopOfRows> {
    this.#source = name;
    if (this.#bound !== this.logits()) {
      this.#bound = this.logits();
      this.#executor.program('top').bind();
    }
    const buffer = this.#executor.stepBuffer('top', this.#top);
    const read = this.#executor.submit(
      'top',
      { ...batch, rows },
      {
        after: (encoder) => this.#ring.copy(encoder, buffer, 4 * ROW_WORDS * rows),
      },
    );
    const words = await read();
    return (row, { modelNormalizer }, count) => {
      const first = ROW_WORDS * row;
      const ids = words.subarray(first, first + ROW_WORDS);
      const values = new Float32Array(words.buffer, 4 * first, ROW_WORDS);
      const found: IdLogprob[] = [];
      for (let i = 0; i < ENTRY_WORDS * count && ids[i] !== NO_ID; i += ENTRY_WORDS) {
        found.push({ id: ids[i]!, logprob: values[i + 1]! - values[1]! - Math.log(modelNormalizer) });
      }
      return found;
    };
  }

  dispose(): void {
    this.#ring.dispose();
    this.#executor.dispose();
  }
}

const LOGITS = 'logits';

/** The sampler is a pass's last reader of its logits, so they are there until the next pass. */
function logitsOf(passes: Executor<ProgramName>, name: ProgramName): GPUBuffer {
  const { plan } = passes.program(name);
  const pick = plan.graph.ops.findLast((op): op is SamplePickOp => op.kind === 'samplePick')!;
  return passes.stepBuffer(name, pick.inputs.logits);
}

const NO_WEIGHTS: PassWeights = {
  buffer() {
    throw new RangeError('the likeliest tokens need no weight');
  },
};
