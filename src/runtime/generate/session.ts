/**
 * @file Token ids in, token ids out: the pool, the runner and the scheduler of a model, and what is asked of them. It must not know text,
 * chat templates or files.
 */
import { ContextLengthError, InvalidInputError, ModelStateError } from '../../errors.ts';
import type { GpuContext } from '../../gpu/device.ts';
import type { SessionRole } from '../../graph/graph.ts';
import { anglesChangeBeyond } from '../../graph/rope.ts';
import type { GpuWeights } from '../../weights/upload.ts';
import type { ModelSpec, Plans } from '../program/plans.ts';
import { FIRST_BLOCKS } from './admission.ts';
import { type Inspected, runInspection } from './inspect.ts';
import { KvPool } from './kv-pool.ts';
import { blockLimits, checkBias, Runner, type RunnerCounts, type RunnerOptions } from './runner.ts';
import { Scheduler, type SchedulerCounts } from './scheduler.ts';
import { type Reading, type RowValue, Sequence, type TokenOptions, type TokenResult } from './sequence.ts';

export type { Inspected } from './inspect.ts';
export type { Logprob, Reading, RowLogprob, RowValue, TokenOptions, TokenResult } from './sequence.ts';

export interface SessionOptions extends RunnerOptions {
  /** Positions that the KV caches of all sequences have together, at most. */
  cacheTokens: number;
  /** False: no sequence takes up what another has computed. Default: true. */
  sharing?: boolean | undefined;
}

export interface SessionCounts extends RunnerCounts, SchedulerCounts {
  submits: number;
  dispatches: number;
  gpuPeakBytes: number;
}

export interface ReadResult {
  readonly values: readonly RowValue[];
  readonly cachedTokens: number;
}

export interface Session {
  /** Ids that follow `ids`, as they are known, those that are forced among them; the token that is not accepted comes last. */
  generate(ids: readonly number[], options: TokenOptions): AsyncGenerator<number, TokenResult>;
  /**
   * What is read of rows of a prompt, in the order in which they are wanted, and how many of its tokens were in the cache. Its chunks take turns
   * with all others, and it waits for a slot and blocks as every sequence does.
   */
  read(ids: readonly number[], reading: Reading, signal?: AbortSignal): Promise<ReadResult>;
  /** Values of named tensors at every position of `ids`, computed anew with `rows` rows a pass. */
  inspect(ids: readonly number[], names: readonly string[], rows: number): Promise<Map<string, Inspected>>;
  /** The assembled WGSL of every kernel, each under its label. */
  kernelCode(): string[];
  /** Totals since the session began, and the most bytes that GPU buffers ever took. */
  readonly counts: SessionCounts;
  /** Blocks of the KV cache, by layer group. */
  readonly kvUsage: KvPool['usage'];
  /** False: on this device some batches would change the bits of a row, and are not used. */
  readonly isBatchInvariant: boolean;
  dispose(): void;
}

/** How many blocks and slots there are when a session begins. */
export const unitsAtFirst =
  (limits: readonly number[]) =>
  (role: SessionRole): number =>
    role.kind === 'kv' ? Math.min(FIRST_BLOCKS, limits[role.group]!) : 1;

/** How many there may be at most. */
export const unitsAtMost =
  (limits: readonly number[], maxSequences: number) =>
  (role: SessionRole): number => {
    if (role.kind === 'kv') return limits[role.group]!;
    return role.kind === 'sampler' || role.kind === 'state' ? maxSequences : 1;
  };

export async function createSession(
  gpu: GpuContext,
  weights: GpuWeights,
  spec: ModelSpec,
  plans: Plans,
  options: SessionOptions,
): Promise<Session> {
  const { vocabSize, windows } = spec.config;
  const { capacity } = options;
  const limits = blockLimits(windows, options);
  const runner = await Runner.create(gpu, weights, spec, plans, options, unitsAtFirst(limits));
  const pool = new KvPool({ windows, limits, sharing: options.sharing });
  limits.forEach((limit, group) => {
    pool.grown(group, Math.min(FIRST_BLOCKS, limit));
  });
  const scheduler = new Scheduler(runner, pool, {
    ...options,
    groups: windows.length,
    anglesChangeBeyond: anglesChangeBeyond(spec.config.rope),
  });
  let numSequences = 0;
  let isDisposed = false;
  void gpu.lost.then((error) => scheduler.fail(error));

  /** Until a sequence ends, of itself or with its signal. */
  async function* run(sequence: Sequence): AsyncGenerator<number, TokenResult> {
    const { signal, reading } = sequence.options;
    const abort = (): void => scheduler.abort(sequence);
    if (signal?.aborted) sequence.finish('abort');
    else scheduler.add(sequence);
    signal?.addEventListener('abort', abort, { once: true });
    try {
      return yield* sequence.tokens(() => scheduler.stir());
    } catch (error) {
      if (isDisposed && sequence.began !== undefined && !reading) {
        return { ...ABORTED, ...sequence.tally, written: '' };
      }
      gpu.throwIfFaulty();
      throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
      // Whoever takes no more tokens wants no more.
      abort();
      if (options.profile) console.table(runner.executor.profile());
    }
  }

  return {
    async *generate(ids, tokenOptions) {
      checkPrompt(ids, vocabSize, capacity);
      const { logprobs, logitBias = {} } = tokenOptions;
      checkBias(logitBias, vocabSize);
      if (logprobs) await runner.readLogprobs();
      return yield* run(new Sequence(numSequences++, ids, tokenOptions));
    },
    async read(ids, reading, signal) {
      checkPrompt(ids, vocabSize, capacity);
      checkIds(
        reading.rows.map(({ token }) => token),
        vocabSize,
        'A row is asked about',
      );
      await runner.prepareReading(reading);
      const sequence = new Sequence(numSequences++, ids, { ...NO_TOKENS, reading, signal });
      await run(sequence).next();
      signal?.throwIfAborted();
      return { values: sequence.values, cachedTokens: sequence.tally.cachedTokens };
    },
    async inspect(ids, names, rows) {
      checkPrompt(ids, vocabSize, capacity);
      return await runInspection(gpu, weights, spec, names, ids, rows, { ...options, signal: undefined });
    },
    kernelCode() {
      const byCode = new Map(runner.executor.dispatches().map((d) => [d.code, d.label]));
      return [...byCode].map(([code, label]) => `// ${label}\n${code}`);
    },
    get counts() {
      const { executor, counts } = runner;
      return {
        ...executor.counts,
        ...counts,
        ...scheduler.counts,
        gpuPeakBytes: gpu.buffers.memory.peakBytes,
      };
    },
    get isBatchInvariant() {
      return runner.isBatchInvariant;
    },
    get kvUsage() {
      return pool.usage;
    },
    dispose() {
      isDisposed = true;
      scheduler.fail(new ModelStateError('This model was disposed of; load it again.'));
      runner.dispose();
    },
  };
}

/** What a sequence is told that only reads its prompt. */
const NO_TOKENS: TokenOptions = {
  sampling: {
    temperature: 0,
    topK: 0,
    topP: 1,
    minP: 0,
    repetitionPenalty: 1,
    presencePenalty: 0,
    frequencyPenalty: 0,
    seed: 0,
  },
  maxTokens: 0,
  accept: () => false,
};

const ABORTED = { finishReason: 'abort', prefillTime: 0, decodeTime: 0 } as const;

function checkPrompt(ids: readonly number[], vocabSize: number, capacity: number): void {
  if (ids.length === 0) throw new InvalidInputError('The prompt has no tokens; give at least one.');
  checkIds(ids, vocabSize, 'The prompt has');
  if (ids.length > capacity) {
    throw new ContextLengthError(
      `The prompt has ${ids.length} tokens, the context holds ${capacity}. Shorten it, or load the model with a larger contextLength.`,
    );
  }
}

function checkIds(ids: readonly number[], vocabSize: number, where: string): void {
  const odd = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
  if (odd !== undefined)
    throw new InvalidInputError(`${where} the id ${odd}, wanted integers from 0 to ${vocabSize - 1}.`);
}
