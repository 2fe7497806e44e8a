/**
 * @file What is read of rows of a prompt instead of sampling after it: programs of their own that run behind a chunk, over the rows that it
 * has left. A few rows at a time: logits of all rows of a chunk would take more memory than the model. Loaded when somebody asks. It must
 * not know sequences or text.
 */
import { kernels } from '../../../kernels/index.ts';
import { tokenLogprob } from '../../../kernels/sample/token-logprob.ts';
import { topLogits } from '../../../kernels/sample/top-logits.ts';
import { allocate, createReadbackRing, type ReadbackRing } from '../../gpu/buffers.ts';
import type { GpuContext } from '../../gpu/device.ts';
import { ROW_HEAD, SEQUENCE_WORDS } from '../../graph/batch.ts';
import { rowSize, type Tensor } from '../../graph/graph.ts';
import { FEW_ROWS } from '../../graph/op-list.ts';
import { SAID_WORDS } from '../../graph/ops/token-logprob.ts';
import type { GpuWeights } from '../../weights/upload.ts';
import { Executor, type ExecutorOptions } from '../program/executor.ts';
import { chunkRows, type ModelSpec, type PlanOptions, type ProgramName } from '../program/plans.ts';
import {
  MAX_LIKELIEST,
  type ReadingName,
  recordReading,
  STREAM,
  streamOf,
} from '../program/reading-plans.ts';
import type { IdLogprob } from '../types.ts';
import type { RowValue } from './sequence.ts';

/** Logits that are computed at a time take about so many bytes. */
const LOGITS_BYTES = 32 << 20;
const NO_ID = 0xffff_ffff;
const ENTRY_WORDS = 2;

/** A row of a chunk, and the token that is asked about. */
export interface ChunkRow {
  readonly row: number;
  readonly token: number;
}

interface ReaderOptions extends PlanOptions, Pick<ExecutorOptions, 'forced' | 'findings'> {
  /** Chunks whose rows may be on their way at a time. */
  maxInFlight: number;
}

interface Program {
  /** Rows at a time. */
  readonly rows: number;
  readonly results: readonly Tensor[];
  /** For each of the results. */
  readonly rings: readonly ReadbackRing[];
}

export class RowReader {
  readonly #gpu: GpuContext;
  readonly #passes: Executor<ProgramName>;
  readonly #spec: ModelSpec;
  readonly #options: ReaderOptions;
  readonly #executor: Executor<ReadingName>;
  readonly #programs = new Map<ReadingName, Program>();
  readonly #preparing = new Map<ReadingName, Promise<void>>();
  readonly #stream: Tensor;
  /** What the programs were bound to. */
  #bound: GPUBuffer | undefined;

  private constructor(
    gpu: GpuContext,
    passes: Executor<ProgramName>,
    spec: ModelSpec,
    options: ReaderOptions,
    executor: Executor<ReadingName>,
  ) {
    this.#gpu = gpu;
    this.#passes = passes;
    this.#spec = spec;
    this.#options = options;
    this.#executor = executor;
    this.#stream = streamOf(passes.program('prefill').plan, spec);
  }

  /** @param passes where the program of a chunk is */
  static async create(
    gpu: GpuContext,
    weights: GpuWeights,
    passes: Executor<ProgramName>,
    spec: ModelSpec,
    options: ReaderOptions,
  ): Promise<RowReader> {
    const stream = streamOf(passes.program('prefill').plan, spec);
    const table = { ...kernels, tokenLogprob, topLogits };
    const executor = await Executor.create<ReadingName>(gpu, weights, {}, table, {
      forced: options.forced,
      findings: options.findings,
      borrow: (name) => (name === STREAM ? passes.stepBuffer('prefill', stream) : undefined),
    });
    return new RowReader(gpu, passes, spec, options, executor);
  }

  /** To be awaited before `read`. @throws DeviceLimitError when there is no memory; everything else works on then */
  prepare(name: ReadingName): Promise<void> {
    const known = this.#preparing.get(name);
    if (known) return known;
    const preparing = this.#prepare(name);
    this.#preparing.set(name, preparing);
    preparing.catch(() => this.#preparing.delete(name));
    return preparing;
  }

  async #prepare(name: ReadingName): Promise<void> {
    const most = chunkRows(this.#options);
    const fitting = Math.floor(LOGITS_BYTES / (4 * this.#spec.config.vocabSize) / FEW_ROWS) * FEW_ROWS;
    const rows = name === 'hidden' ? FEW_ROWS : Math.max(FEW_ROWS, Math.min(most, fitting));
    const { plan, results } = recordReading(this.#spec, this.#options, name, rows);
    await this.#executor.add({ [name]: plan });
    // Of a chunk no more rows are read than it has, and one more of each of a few sequences; of a few sequences one vector each.
    const parts = name === 'hidden' ? 1 : Math.ceil((most + FEW_ROWS) / rows);
    const rings = await allocate(this.#gpu.device, 'what is read of prompts', () =>
      results.map((t) =>
        createReadbackRing(this.#gpu.buffers, 4 * rows * t.rowStride, this.#options.maxInFlight * parts),
      ),
    );
    this.#programs.set(name, { rows, results, rings });
  }

  /** To be called at once after the submit of a chunk's program: what its rows say, in their order; undefined where it is no number. */
  async read(
    name: ReadingName,
    wanted: readonly ChunkRow[],
    numTop: number,
  ): Promise<(RowValue | undefined)[]> {
    const stream = this.#passes.stepBuffer('prefill', this.#stream);
    if (this.#bound !== stream) {
      this.#bound = stream;
      for (const known of this.#programs.keys()) this.#executor.program(known).bind();
    }
    const { rows } = this.#programs.get(name)!;
    const parts: Promise<(RowValue | undefined)[]>[] = [];
    for (let begin = 0; begin < wanted.length; begin += rows) {
      parts.push(this.#readPart(name, wanted.slice(begin, begin + rows), numTop));
    }
    return (await Promise.all(parts)).flat();
  }

  async #readPart(
    name: ReadingName,
    wanted: readonly ChunkRow[],
    numTop: number,
  ): Promise<(RowValue | undefined)[]> {
    const { rows, results, rings } = this.#programs.get(name)!;
    const words = new Uint32Array(rows * (ROW_HEAD + SEQUENCE_WORDS));
    wanted.forEach(({ row, token }, i) => {
      words[ROW_HEAD * i + 2] = token;
      words.set([row, 1], ROW_HEAD * rows + SEQUENCE_WORDS * i);
    });
    this.#gpu.device.queue.writeBuffer(this.#executor.buffer('batch'), 0, words);
    const count = wanted.length;
    const counts = {
      rows: count,
      sequences: count,
      rounds: 1,
      context: 1,
      workgroups: this.#executor.workgroups,
    };
    const reads = this.#executor.submit(name, counts, {
      after: (encoder) =>
        results.map((t, i) =>
          rings[i]!.copy(encoder, this.#executor.stepBuffer(name, t), 4 * count * t.rowStride),
        ),
    });
    const [first, top] = await Promise.all(reads.map((read) => read()));
    return wanted.map((_, i) =>
      name === 'hidden' ? hiddenAt(first!, i, results[0]!) : logprobAt(first!, top, i, numTop),
    );
  }

  dispose(): void {
    for (const { rings } of this.#programs.values()) for (const ring of rings) ring.dispose();
    this.#executor.dispose();
  }
}

function hiddenAt(words: Uint32Array, i: number, tensor: Tensor): Float32Array | undefined {
  const values = new Float32Array(words.buffer, 4 * i * tensor.rowStride, rowSize(tensor));
  return values.every(Number.isFinite) ? values : undefined;
}

function logprobAt(
  said: Uint32Array,
  top: Uint32Array | undefined,
  i: number,
  numTop: number,
): RowValue | undefined {
  const [own, largest, sum] = new Float32Array(said.buffer, 4 * SAID_WORDS * i, 3) as unknown as number[];
  const rank = said[SAID_WORDS * i + 3]!;
  if (rank === 0) return undefined;
  const logprobOf = (logit: number): number => logit - largest! - Math.log(sum!);
  const likeliest: IdLogprob[] = [];
  const first = ENTRY_WORDS * MAX_LIKELIEST * i;
  for (let at = first; top && at < first + ENTRY_WORDS * numTop && top[at] !== NO_ID; at += ENTRY_WORDS) {
    const [logit] = new Float32Array(top.buffer, 4 * (at + 1), 1);
    likeliest.push({ id: top[at]!, logprob: logprobOf(logit!) });
  }
  return { logprob: logprobOf(own!), rank, top: likeliest };
}
