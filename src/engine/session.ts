/**
 * @file Token ids in, token ids out: reuses the longest common prefix of what is in the KV cache, prefills in chunks, and
 * takes what decoding or speculation samples. One generation runs at a time. It must not know text, chat templates or files.
 */
import type { SamplingParams } from '../../kernels/sample/layout.ts';
import { ContextLengthError, InvalidInputError, ModelStateError, NumericalError } from '../errors.ts';
import type { GpuContext } from '../gpu/device.ts';
import type { GpuWeights } from '../weights/upload.ts';
import { decode } from './decode.ts';
import type { ExecutorOptions } from './executor.ts';
import { type Inspected, runInspection } from './inspect.ts';
import { type ModelSpec, type Plans, recordInspection } from './recording.ts';
import { createProposer, type Proposer, speculate } from './speculate.ts';
import { createSteps, type Steps } from './steps.ts';
import type { Speculation } from './types.ts';

export type { Inspected } from './inspect.ts';

export interface SessionOptions extends ExecutorOptions {
  capacity: number;
  kvDtype: 'f16' | 'f32';
  prefillRows: number;
  speculate?: Speculation;
  fuse?: boolean;
  reuse?: boolean;
}

export interface TokenOptions {
  sampling: SamplingParams;
  logitBias?: Readonly<Record<number, number>>;
  /** How many of the last prompt ids belong to the answer: the penalties count them so. Default 0. */
  numAnswered?: number;
  maxTokens: number;
  /** Asked before each token which ones may come, bits in the order of the vocabulary; undefined: every token. */
  mask?: (() => Uint32Array | undefined) | undefined;
  /** Asked about every token; false ends the generation with it. */
  accept: (id: number) => boolean;
  signal?: AbortSignal;
}

export interface TokenResult {
  finishReason: 'stop' | 'length' | 'abort';
  cachedTokens: number;
  /** Guessed tokens that steps verified, and those of them that are in the answer. */
  draftTokens: number;
  acceptedTokens: number;
  /** Forward passes behind the prefill whose tokens were taken. */
  numSteps: number;
  /** Milliseconds. */
  prefillTime: number;
  decodeTime: number;
}

export interface Session {
  /** Ids that follow `ids`, as they are known; the token that is not accepted comes last. */
  generate(ids: readonly number[], options: TokenOptions): AsyncGenerator<number, TokenResult>;
  /** Values of named tensors at every position of `ids`, computed anew with `rows` rows a step. */
  inspect(ids: readonly number[], names: readonly string[], rows: number): Promise<Map<string, Inspected>>;
  /** The assembled WGSL of every kernel, each under its label. */
  kernelCode(): string[];
  /** Totals since the session began, and the most bytes that GPU buffers ever took. */
  readonly counts: Steps['counts'] & { submits: number; dispatches: number; gpuPeakBytes: number };
  dispose(): void;
}

export async function createSession(
  gpu: GpuContext,
  weights: GpuWeights,
  spec: ModelSpec,
  plans: Plans,
  sessionOptions: SessionOptions,
): Promise<Session> {
  const { vocabSize } = spec.config;
  const { capacity, prefillRows } = sessionOptions;
  const steps = await createSteps(gpu, weights, spec.config, plans, sessionOptions);
  const { executor, cache } = steps;
  let isDisposed = false;
  let last: Promise<void> = Promise.resolve();

  /** Waits for the generation before; the returned function lets the next one start. */
  async function takeTurn(): Promise<() => void> {
    const before = last;
    let release = (): void => {};
    last = new Promise((resolve) => {
      release = resolve;
    });
    await before;
    if (isDisposed) {
      release();
      throw new ModelStateError('This model was disposed of; load it again.');
    }
    return release;
  }

  /** How much of a prompt is in the caches. The last id is always computed: its logits are wanted. */
  function reusable(ids: readonly number[]): number {
    const common = commonPrefix(cache.ids, ids);
    // The module's row at a position knows the token behind it, and is made from the model's hidden state there: both anew.
    const usable =
      sessionOptions.speculate === 'mtp' ? Math.max(0, Math.min(common - 1, cache.numDrafted)) : common;
    return Math.min(usable, ids.length - 1);
  }

  function keepCached(numIds: number): void {
    cache.ids.length = numIds;
    cache.numDrafted = Math.min(cache.numDrafted, numIds);
  }

  /** Runs the prompt from `from` on; the last chunk samples the first token. Undefined when aborted. */
  async function prefill(
    ids: readonly number[],
    from: number,
    proposer: Proposer | undefined,
    signal: AbortSignal | undefined,
  ): Promise<{ first: Promise<number[]> } | undefined> {
    let previous: Promise<void> | undefined;
    for (let position = from; ; ) {
      if (signal?.aborted) return undefined;
      const rows = Math.min(prefillRows, ids.length - position);
      const chunk = ids.slice(position, position + rows);
      const input = { ids: chunk, rows, position, sequenceLength: ids.length };
      const name = rows === 1 ? steps.single : 'prefill';
      const isLast = position + rows === ids.length;
      const first = isLast ? steps.sample(name, input) : steps.run(name, input, 'body');
      cache.ids.push(...chunk);
      proposer?.chunk(ids, position, rows);
      // One chunk runs while the next is prepared, so that an abort is answered soon.
      await previous;
      if (first) return { first };
      previous = gpu.device.queue.onSubmittedWorkDone();
      position += rows;
    }
  }

  async function* generate(
    ids: readonly number[],
    options: TokenOptions,
  ): AsyncGenerator<number, TokenResult> {
    checkPrompt(ids, vocabSize, capacity);
    const release = await takeTurn();
    const { signal, mask, numAnswered = 0 } = options;
    const began = performance.now();
    let prefilled = began;
    // The prefill is none.
    let numSteps = -1;
    let [draftTokens, acceptedTokens] = [0, 0];
    const reused = reusable(ids);
    const finish = (finishReason: TokenResult['finishReason']): TokenResult => ({
      finishReason,
      cachedTokens: reused,
      draftTokens,
      acceptedTokens,
      numSteps: Math.max(0, numSteps),
      prefillTime: prefilled - began,
      decodeTime: performance.now() - prefilled,
    });
    try {
      steps.writeSampling(ids, options.sampling, {
        bias: options.logitBias ?? {},
        hasMask: mask !== undefined,
        numAnswered,
      });
      if (mask) steps.writeMask(mask());
      keepCached(reused);
      // Guesses are verified several at a time, and what a mask allows is known only behind the token before.
      const proposer =
        sessionOptions.speculate && !mask ? createProposer(sessionOptions.speculate, steps) : undefined;
      const prefilling = await prefill(ids, reused, proposer, signal);
      if (!prefilling) return finish('abort');
      const { first } = prefilling;
      const maxTokens = Math.min(options.maxTokens, capacity - ids.length + 1);
      const runs = proposer
        ? speculate(steps, proposer, ids.length, first, maxTokens)
        : decode(steps, ids.length, first, maxTokens, mask);
      for await (const { tokens, numDrafts } of runs) {
        if (numSteps < 0) prefilled = performance.now();
        for (const [i, token] of tokens.entries()) {
          if (signal?.aborted) return finish('abort');
          if (i === 0) {
            numSteps++;
            draftTokens += numDrafts;
          }
          if (i < tokens.length - 1) acceptedTokens++;
          const isLast = !options.accept(token);
          yield token;
          if (isLast) return finish('stop');
        }
        if (signal?.aborted) return finish('abort');
      }
      return finish('length');
    } catch (error) {
      if (error instanceof NumericalError) keepCached(0);
      if (isDisposed) return finish('abort');
      gpu.throwIfFaulty();
      throw error;
    } finally {
      if (sessionOptions.profile) console.table(executor.profile());
      release();
    }
  }

  async function inspect(
    ids: readonly number[],
    names: readonly string[],
    rows: number,
  ): Promise<Map<string, Inspected>> {
    checkPrompt(ids, vocabSize, capacity);
    const inspection = recordInspection(spec, { ...sessionOptions, rows }, names);
    const release = await takeTurn();
    try {
      keepCached(0);
      return await runInspection(gpu, weights, spec, inspection, ids, rows, {
        ...sessionOptions,
        borrow: (name) => (name.startsWith('kv.') ? executor.session(name) : undefined),
      });
    } finally {
      release();
    }
  }

  return {
    generate,
    inspect,
    get counts() {
      return { ...executor.counts, ...steps.counts, gpuPeakBytes: gpu.buffers.memory.peakBytes };
    },
    kernelCode() {
      const byCode = new Map(executor.dispatches().map((d) => [d.code, d.label]));
      return [...byCode].map(([code, label]) => `// ${label}\n${code}`);
    },
    dispose() {
      isDisposed = true;
      steps.dispose();
    },
  };
}

function checkPrompt(ids: readonly number[], vocabSize: number, capacity: number): void {
  if (ids.length === 0) throw new InvalidInputError('The prompt has no tokens; give at least one.');
  const odd = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
  if (odd !== undefined)
    throw new InvalidInputError(`The prompt has the id ${odd}, wanted integers from 0 to ${vocabSize - 1}.`);
  if (ids.length > capacity) {
    throw new ContextLengthError(
      `The prompt has ${ids.length} tokens, the context holds ${capacity}. Shorten it, or load the model with a larger contextLength.`,
    );
  }
}

function commonPrefix(a: readonly number[], b: readonly number[]): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}
