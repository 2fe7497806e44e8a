/**
 * @file Runs batches: writes what a program reads, replays it, reads what it sampled; and what a slot of the sampler is told of its
 * sequence. It must not know which sequences there are, or why a batch is as it is.
 */
import { kernels } from '../../../kernels/index.ts';
import {
  NUM_RESULT_WORDS,
  packCounts,
  packSampling,
  type SamplingParams,
  unpackResult,
} from '../../../kernels/sample/layout.ts';
import { InvalidInputError, NumericalError } from '../../errors.ts';
import { allocateStorage, bufferSize, createReadbackRing, type ReadbackRing } from '../../gpu/buffers.ts';
import type { GpuContext } from '../../gpu/device.ts';
import { BLOCK_LENGTH } from '../../graph/batch.ts';
import type { SessionRole } from '../../graph/graph.ts';
import type { Plan } from '../../graph/plan.ts';
import type { GpuWeights } from '../../weights/upload.ts';
import { Executor, type ExecutorBytes, type ExecutorOptions, executorBytes } from '../program/executor.ts';
import {
  layoutOf,
  type ModelSpec,
  type PlanOptions,
  type Plans,
  type ProgramName,
  ROW_COUNTS,
  recordPlan,
} from '../program/plans.ts';
import { bodyEnd } from '../program/program.ts';
import { type Batch, BatchWriter, countsOf } from './batch.ts';
import { MAX_DEPTH } from './depth.ts';
import { type BlockCopy, windowBlocks } from './kv-pool.ts';
import type { LogprobReader, TopOfRows } from './logprobs.ts';
import type { ChunkRow, RowReader } from './row-reader.ts';
import type { Logprob, Reading, RowValue } from './sequence.ts';

/** What a sequence's rows sampled, as far as its guesses were right. */
export interface Picked {
  readonly tokens: readonly number[];
  /** Of each token, when they were asked for. */
  readonly logprobs: readonly Logprob[] | undefined;
}

export interface RunnerOptions extends PlanOptions, Omit<ExecutorOptions, 'unitsOf' | 'borrow'> {
  /** Passes that may be in flight at most. Default: by the adapter. */
  maxDepth?: number | undefined;
  /** What a program of several rows computes otherwise than the one of a single row, on this device. Default: not looked at. */
  differences?: ((alone: Plan, company: Plan) => Promise<readonly string[]>) | undefined;
}

/** What a slot is told when its sequence begins or goes on. */
export interface SlotSampling {
  readonly sampling: SamplingParams;
  readonly bias: Readonly<Record<number, number>>;
  readonly hasMask: boolean;
  /** The last ids that are no prompt but output. */
  readonly numAnswered: number;
}

/** Chunks of prompts in flight: one runs while the next is prepared, so that an abort is answered soon. */
export const CHUNKS_IN_FLIGHT = 2;

/** Totals; `hostMilliseconds` is what submitting passes that sample took of the host's thread. */
export interface RunnerCounts {
  readbacks: number;
  readbackBytes: number;
  hostMilliseconds: number;
  /** Passes by program. */
  passes: Partial<Record<ProgramName, number>>;
}

export class Runner {
  readonly executor: Executor<ProgramName>;
  readonly counts: RunnerCounts = { readbacks: 0, readbackBytes: 0, hostMilliseconds: 0, passes: {} };
  /** Passes that may be in flight at most. */
  readonly maxDepth: number;
  /** False: some program of several rows is not used, since a row would give other bits in it than alone. */
  isBatchInvariant = true;
  readonly #gpu: GpuContext;
  readonly #weights: GpuWeights;
  readonly #spec: ModelSpec;
  readonly #options: RunnerOptions;
  readonly #writer: BatchWriter;
  readonly #ring: ReadbackRing;
  readonly #compiling = new Map<ProgramName, Promise<void>>();
  readonly #everyToken: Uint32Array<ArrayBuffer>;
  #slots = 1;
  #top: LogprobReader | undefined;
  #reading: Promise<LogprobReader> | undefined;
  #rowReader: Promise<RowReader> | undefined;
  #rows: RowReader | undefined;
  /** A block on its way. */
  #copied: GPUBuffer | undefined;

  private constructor(
    gpu: GpuContext,
    weights: GpuWeights,
    spec: ModelSpec,
    options: RunnerOptions,
    executor: Executor<ProgramName>,
  ) {
    this.#gpu = gpu;
    this.#weights = weights;
    this.#spec = spec;
    this.#options = options;
    this.executor = executor;
    this.maxDepth = options.maxDepth ?? maxDepthOn(gpu.info);
    this.#writer = new BatchWriter(layoutOf(spec.config, options), spec.config.rope, (words, first) =>
      gpu.device.queue.writeBuffer(executor.buffer('batch'), 4 * first, words),
    );
    this.#ring = createReadbackRing(gpu.buffers, resultBytes(options), this.maxDepth + CHUNKS_IN_FLIGHT);
    this.#everyToken = new Uint32Array(Math.ceil(spec.config.vocabSize / 32)).fill(0xffff_ffff);
  }

  /** @param unitsOf how many blocks and slots there are at first */
  static async create(
    gpu: GpuContext,
    weights: GpuWeights,
    spec: ModelSpec,
    plans: Plans,
    options: RunnerOptions,
    unitsOf: (role: SessionRole) => number,
  ): Promise<Runner> {
    const executor = await Executor.create<ProgramName>(gpu, weights, plans, kernels, {
      ...options,
      unitsOf,
    });
    return new Runner(gpu, weights, spec, options, executor);
  }

  /** Whether a program is there. Where it is not, it is made from now on. */
  has(name: ProgramName): boolean {
    if (this.executor.has(name)) return true;
    if (!this.#compiling.has(name)) {
      const making = this.#make(name);
      this.#compiling.set(name, making);
      // Without it everything works on, in smaller passes.
      making.catch(() => {});
    }
    return false;
  }

  async #make(name: ProgramName): Promise<void> {
    const plan = recordPlan(this.#spec, this.#options, name);
    const { differences } = this.#options;
    const different =
      name.startsWith('rows') && (await differences?.(this.executor.program('rows1').plan, plan));
    if (different && different.length > 0) {
      this.isBatchInvariant = false;
      console.warn(
        `shaderloom: on this device several rows at a time give other bits than one (${different.join('; ')}), so that answers are generated in smaller batches. Please report this.`,
      );
      return;
    }
    await this.executor.add({ [name]: plan });
  }

  /** The most rows of a pass that there is a program for now, at most so many; asks for what would take all. */
  rowsReady(wanted: number): number {
    const isReady = (n: number): boolean =>
      this.has(`rows${n as 1}`) && (!this.#drafts || this.has(`draft${n as 1}`));
    const fitting = ROW_COUNTS.find((n) => n >= wanted) ?? ROW_COUNTS.at(-1)!;
    if (isReady(fitting)) return Math.min(wanted, fitting);
    const ready = ROW_COUNTS.filter(
      (n) => this.executor.has(`rows${n}`) && (!this.#drafts || this.executor.has(`draft${n}`)),
    );
    return Math.min(wanted, ready.at(-1)!);
  }

  get #drafts(): boolean {
    return this.#options.speculate === 'mtp';
  }

  /** The program for a batch of few rows. */
  programFor(rows: number, kind: 'rows' | 'draft' = 'rows'): ProgramName {
    return `${kind}${ROW_COUNTS.find((n) => n >= rows && this.executor.has(`${kind}${n}`))!}`;
  }

  /** Slots for so many sequences. @throws DeviceLimitError when there is no memory; everything works on then */
  async growSlots(slots: number): Promise<void> {
    if (slots <= this.#slots) return;
    const most = Math.max(slots, Math.min(2 * this.#slots, this.#options.maxSequences));
    await this.executor.grow(({ kind }) => kind === 'sampler' || kind === 'state', most);
    this.#slots = most;
  }

  /** More blocks for a layer group. @throws DeviceLimitError when there is no memory; everything works on then */
  growBlocks(group: number, blocks: number): Promise<void> {
    return this.executor.grow((role) => role.kind === 'kv' && role.group === group, blocks);
  }

  /** Tells a slot its sequence's blocks from `first` on. */
  writeTable(slot: number, group: number, first: number, blocks: readonly (number | undefined)[]): void {
    // What has left a window is not read again.
    if (blocks.length > 0)
      this.#writer.writeTable(
        slot,
        group,
        first,
        blocks.map((block) => block ?? 0),
      );
  }

  /** What `copyBlocks` needs once. @throws DeviceLimitError when there is no memory; everything works on then */
  async prepareCopies(): Promise<void> {
    if (this.#copied) return;
    const caches = this.executor.sessionTensors((role) => role.kind === 'kv');
    const bytes = Math.max(...caches.map((t) => t.unitBytes));
    this.#copied = await allocateStorage(this.#gpu.buffers, 'a block', bytes, 'a copy of a block');
  }

  /** Copies blocks, in the order of what is submitted, once `prepareCopies` was done. */
  copyBlocks(copies: readonly BlockCopy[]): void {
    if (copies.length === 0) return;
    const encoder = this.#gpu.device.createCommandEncoder();
    const caches = this.executor.sessionTensors((role) => role.kind === 'kv');
    for (const { group, from, to } of copies) {
      for (const { name, role, unitBytes } of caches) {
        if (role.kind !== 'kv' || role.group !== group) continue;
        const buffer = this.executor.buffer(name);
        // WebGPU copies no buffer to itself.
        encoder.copyBufferToBuffer(buffer, from * unitBytes, this.#copied!, 0, unitBytes);
        encoder.copyBufferToBuffer(this.#copied!, 0, buffer, to * unitBytes, unitBytes);
      }
    }
    this.#gpu.device.queue.submit([encoder.finish()]);
  }

  writeSampling(slot: number, ids: readonly number[], given: SlotSampling): void {
    const { vocabSize } = this.#spec.config;
    const { bias, hasMask, numAnswered, sampling } = given;
    const hasBias = Object.keys(bias).length > 0;
    this.#writeSlot(slot, 'sampling', packSampling(sampling, { hasBias, hasMask }));
    const begin = ids.length - numAnswered;
    this.#writeSlot(slot, 'counts', packCounts(vocabSize, ids.slice(0, begin), ids.slice(begin)));
    if (hasBias) this.#writeSlot(slot, 'bias', denseBias(bias, vocabSize));
  }

  /** Bits of the tokens that the passes from now on may sample for a slot; undefined: all. */
  writeMask(slot: number, mask: Uint32Array | undefined): void {
    this.#writeSlot(slot, 'mask', (mask ?? this.#everyToken) as Uint32Array<ArrayBuffer>);
  }

  #writeSlot(slot: number, name: string, words: GPUAllowSharedBufferSource & { byteLength: number }): void {
    const { unitBytes } = this.executor
      .sessionTensors((r) => r.kind === 'sampler')
      .find((t) => t.name === name)!;
    this.#gpu.device.queue.writeBuffer(this.executor.buffer(name), slot * unitBytes, words);
  }

  /** Tells the likeliest tokens with what is sampled from now on. */
  async readLogprobs(): Promise<void> {
    if (this.#top) return;
    const { LogprobReader } = await import('./logprobs.ts');
    const { vocabSize } = this.#spec.config;
    this.#reading ??= LogprobReader.create(
      this.#gpu,
      this.executor,
      vocabSize,
      this.maxDepth + CHUNKS_IN_FLIGHT,
    );
    try {
      this.#top = await this.#reading;
    } finally {
      this.#reading = undefined;
    }
  }

  /** Makes what reads rows of prompts. @throws DeviceLimitError when there is no memory; everything else works on then */
  async prepareReading({ name }: Reading): Promise<void> {
    this.#rowReader ??= import('./row-reader.ts').then(({ RowReader }) =>
      RowReader.create(this.#gpu, this.#weights, this.executor, this.#spec, {
        ...this.#options,
        maxInFlight: CHUNKS_IN_FLIGHT,
      }),
    );
    try {
      this.#rows = await this.#rowReader;
    } catch (error) {
      this.#rowReader = undefined;
      throw error;
    }
    await this.#rows.prepare(name);
  }

  /** What rows of the chunk say that `compute` has submitted last, in their order; undefined where it is no number. */
  read({ name, numTop }: Reading, rows: readonly ChunkRow[]): Promise<(RowValue | undefined)[]> {
    return this.#rows!.read(name, rows, numTop);
  }

  /** Submits a pass that only computes: no logits, no samples. */
  compute(name: ProgramName, batch: Batch): void {
    this.#submit(name, batch, bodyEnd(this.executor.program(name)));
  }

  /** Resolves when all that was submitted has run. */
  ran(): Promise<undefined> {
    const done = this.#gpu.device.queue.onSubmittedWorkDone();
    done.catch(() => {});
    return done;
  }

  /** Submits the module that drafts over the rows of the last pass, which leaves a guess for each sequence. */
  draft(name: ProgramName, batch: Batch): void {
    this.#submit(name, batch);
  }

  #submit(name: ProgramName, batch: Batch, until?: number): void {
    this.#write(name, batch);
    this.executor.submit(name, countsOf(batch, this.executor.workgroups), { until });
  }

  #write(name: ProgramName, batch: Batch): void {
    this.#writer.write(batch);
    this.counts.passes[name] = (this.counts.passes[name] ?? 0) + 1;
  }

  /**
   * Submits a pass, and gives what each sequence of the batch samples. `numTop`: of each sequence, how many of the likeliest tokens are
   * wanted with each of its own.
   * @throws NumericalError where logits are no numbers: in the place of a sequence's tokens, and for the whole pass where it fails
   */
  sample(
    name: ProgramName,
    batch: Batch,
    numTop: readonly (number | undefined)[],
  ): Promise<(Picked | NumericalError)[]> {
    const began = performance.now();
    this.#write(name, batch);
    const isPrefill = name === 'prefill';
    const counts = countsOf(batch, this.executor.workgroups);
    const numResults = isPrefill ? counts.sequences : counts.rows;
    const read = this.executor.submit(name, counts, {
      after: (encoder) =>
        this.#ring.copy(encoder, this.executor.buffer('result'), 4 * NUM_RESULT_WORDS * numResults),
    });
    const words = read();
    const wantsTop = numTop.some((n) => n !== undefined && n > 0);
    const likeliest = wantsTop ? this.#top?.read(name, counts, numResults) : undefined;
    const picked = Promise.all([words, likeliest]).then(([found, of]) =>
      this.#unpack(found, batch, isPrefill, numTop, of),
    );
    // A failure is reported to whoever awaits the tokens, not as an unhandled rejection before that.
    picked.catch(() => {});
    this.counts.hostMilliseconds += performance.now() - began;
    return picked;
  }

  #unpack(
    words: Uint32Array,
    batch: Batch,
    isPrefill: boolean,
    numTop: readonly (number | undefined)[],
    likeliest: TopOfRows | undefined,
  ): (Picked | NumericalError)[] {
    this.counts.readbacks++;
    this.counts.readbackBytes += words.byteLength;
    let row = 0;
    return batch.map(({ tokens: given }, i) => {
      const first = row;
      const numRows = isPrefill ? 1 : given.length;
      row += numRows;
      const tokens: number[] = [];
      const logprobs: Logprob[] | undefined = numTop[i] === undefined ? undefined : [];
      for (let at = first; at < first + numRows; at++) {
        const picked = unpackResult(words.subarray(NUM_RESULT_WORDS * at, NUM_RESULT_WORDS * (at + 1)));
        if (picked.isSkipped) break;
        if (!picked.isFinite) {
          return new NumericalError(
            `The model computed NaN or infinite logits at position ${picked.position}; no token was sampled. Try precision: 'f32', and check the checkpoint.`,
          );
        }
        tokens.push(picked.token);
        logprobs?.push({ logprob: picked.modelLogprob, top: likeliest?.(at, picked, numTop[i]!) ?? [] });
      }
      return { tokens, logprobs };
    });
  }

  dispose(): void {
    this.#top?.dispose();
    this.#rows?.dispose();
    this.#ring.dispose();
    if (this.#copied) this.#gpu.buffers.destroy(this.#copied);
    this.executor.dispose();
  }
}

type AdapterKind = Pick<GpuContext['info'], 'isFallback'>;

const maxDepthOn = ({ isFallback }: AdapterKind): number => (isFallback ? 1 : MAX_DEPTH);

/** Results of a pass, at most. */
const resultBytes = ({ maxSequences, speculate }: Pick<PlanOptions, 'maxSequences' | 'speculate'>): number =>
  4 * NUM_RESULT_WORDS * (maxSequences > 1 || speculate ? ROW_COUNTS.at(-1)! : 1);

/** Blocks that a cache of some positions takes at most, by group. */
export function blockLimits(
  windows: readonly (number | undefined)[],
  {
    cacheTokens,
    maxSequences,
    prefillRows,
  }: { cacheTokens: number; maxSequences: number; prefillRows: number },
): number[] {
  const all = Math.ceil(cacheTokens / BLOCK_LENGTH) + 1;
  return windows.map((window) =>
    window === undefined ? all : Math.min(all, maxSequences * windowBlocks(window, prefillRows)),
  );
}

/** What the buffers of a runner take, with so many blocks and slots. */
export function runnerBytes(
  plans: readonly Plan[],
  options: Pick<PlanOptions, 'maxSequences' | 'speculate'>,
  unitsOf: (role: SessionRole) => number,
  info: AdapterKind,
): ExecutorBytes {
  const bytes = executorBytes(plans, unitsOf);
  const ringBytes = (maxDepthOn(info) + CHUNKS_IN_FLIGHT) * bufferSize(resultBytes(options));
  return { ...bytes, activationBytes: bytes.activationBytes + ringBytes };
}

type LogitBias = Readonly<Record<number, number>>;

/** @throws InvalidInputError */
export function checkBias(logitBias: LogitBias, vocabSize: number): void {
  for (const [id, value] of Object.entries(logitBias)) {
    if (!(Number(id) < vocabSize)) {
      throw new InvalidInputError(`logitBias names the token ${id}, wanted ids from 0 to ${vocabSize - 1}`);
    }
    if (Number.isNaN(value) || value === Number.POSITIVE_INFINITY) {
      throw new InvalidInputError(
        `logitBias of token ${id} is ${value}, wanted a finite number, or -Infinity to ban the token`,
      );
    }
  }
}

function denseBias(logitBias: LogitBias, vocabSize: number): Float32Array<ArrayBuffer> {
  const bias = new Float32Array(vocabSize);
  for (const [id, value] of Object.entries(logitBias)) bias[Number(id)] = value;
  return bias;
}
