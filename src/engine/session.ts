/**
 * @file Token ids in, token ids out: takes a conversation with what is in its KV cache, prefills the rest in chunks, and takes
 * what decoding or speculation samples. It must not know text, chat templates or files.
 */
import type { SamplingParams } from '../../kernels/sample/layout.ts';
import { ContextLengthError, InvalidInputError, ModelStateError, NumericalError } from '../errors.ts';
import type { GpuContext } from '../gpu/device.ts';
import type { GpuWeights } from '../weights/upload.ts';
import type { Chances, TopReader } from './chances.ts';
import { createConversations, keepCached } from './conversations.ts';
import { decode } from './decode.ts';
import type { ExecutorOptions } from './executor.ts';
import { type Inspected, runInspection } from './inspect.ts';
import { type ModelSpec, type Plans, recordInspection } from './recording.ts';
import { createProposer, type Proposer, speculate } from './speculate.ts';
import { type Chance, createRunner, type Picked, type Runner, type Steps } from './steps.ts';
import type { Speculation } from './types.ts';

export type { Inspected } from './inspect.ts';

export interface SessionOptions extends ExecutorOptions {
  capacity: number;
  /** Sets of KV caches, at most. */
  conversations: number;
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
  /** Tell the chance of every token, with so many of the likeliest. */
  logprobs?: number | undefined;
  /** Asked about every token; false ends the generation with it. The chance is there with `logprobs`. */
  accept: (id: number, chance: Chance | undefined) => boolean;
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
  readonly counts: Runner['counts'] & { submits: number; dispatches: number; gpuPeakBytes: number };
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
  const runner = await createRunner(gpu, weights, spec.config, plans, sessionOptions);
  const { executor } = runner;
  const conversations = createConversations(runner.first, runner.add, sessionOptions);
  let isDisposed = false;
  let chances: Promise<Chances> | undefined;
  void gpu.lost.then(conversations.fail);

  /** What reads the likeliest tokens is made when somebody first asks for them. */
  async function topReader(): Promise<TopReader> {
    chances ??= import('./chances.ts').then(({ createChances }) =>
      createChances(gpu, weights, executor, plans, (runner.depth + 1) * sessionOptions.conversations),
    );
    try {
      return await chances;
    } catch (error) {
      chances = undefined;
      throw error;
    }
  }

  /** Runs the prompt from `from` on; the last chunk samples the first token. Undefined when aborted. */
  async function prefill(
    steps: Steps,
    ids: readonly number[],
    from: number,
    proposer: Proposer | undefined,
    signal: AbortSignal | undefined,
  ): Promise<{ first: Promise<Picked> } | undefined> {
    let previous: Promise<void> | undefined;
    for (let position = from; ; ) {
      if (signal?.aborted) return undefined;
      const rows = Math.min(prefillRows, ids.length - position);
      const chunk = ids.slice(position, position + rows);
      const input = { ids: chunk, rows, position, sequenceLength: ids.length };
      const name = rows === 1 ? steps.single : 'prefill';
      const isLast = position + rows === ids.length;
      const first = isLast ? steps.sample(name, input) : steps.run(name, input, 'body');
      steps.cache.ids.push(...chunk);
      proposer?.chunk(ids, position, rows);
      conversations.progress();
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
    const { signal, mask, numAnswered = 0, logprobs } = options;
    const top = logprobs ? await topReader() : undefined;
    const taken = await conversations.take(ids, { numAnswered, signal });
    const { conversation, numCached = 0 } = taken ?? {};
    const began = performance.now();
    let prefilled = began;
    // The prefill is none.
    let numSteps = -1;
    let [draftTokens, acceptedTokens] = [0, 0];
    const finish = (finishReason: TokenResult['finishReason']): TokenResult => ({
      finishReason,
      cachedTokens: numCached,
      draftTokens,
      acceptedTokens,
      numSteps: Math.max(0, numSteps),
      prefillTime: prefilled - began,
      decodeTime: performance.now() - prefilled,
    });
    if (!conversation) return finish('abort');
    const { steps } = conversation;
    try {
      steps.writeSampling(ids, options.sampling, {
        bias: options.logitBias ?? {},
        hasMask: mask !== undefined,
        numAnswered,
        numTop: logprobs,
        top,
      });
      if (mask) steps.writeMask(mask());
      // Guesses are verified several at a time, and what a mask allows is known only behind the token before.
      const proposer =
        sessionOptions.speculate && !mask ? createProposer(sessionOptions.speculate, steps) : undefined;
      const prefilling = await prefill(steps, ids, numCached, proposer, signal);
      if (!prefilling) return finish('abort');
      const { first } = prefilling;
      const maxTokens = Math.min(options.maxTokens, capacity - ids.length + 1);
      const runs = proposer
        ? speculate(steps, proposer, ids.length, first, maxTokens)
        : decode(steps, ids.length, first, maxTokens, mask);
      for await (const { tokens, chances, numDrafts } of runs) {
        if (numSteps < 0) prefilled = performance.now();
        for (const [i, token] of tokens.entries()) {
          if (signal?.aborted) return finish('abort');
          if (i === 0) {
            numSteps++;
            draftTokens += numDrafts;
          }
          if (i < tokens.length - 1) acceptedTokens++;
          const isLast = !options.accept(token, chances?.[i]);
          yield token;
          if (isLast) return finish('stop');
        }
        if (signal?.aborted) return finish('abort');
      }
      return finish('length');
    } catch (error) {
      if (error instanceof NumericalError) keepCached(steps.cache, 0);
      if (isDisposed) return finish('abort');
      gpu.throwIfFaulty();
      throw error;
    } finally {
      if (sessionOptions.profile) console.table(executor.profile());
      conversations.release(conversation);
    }
  }

  async function inspect(
    ids: readonly number[],
    names: readonly string[],
    rows: number,
  ): Promise<Map<string, Inspected>> {
    checkPrompt(ids, vocabSize, capacity);
    const inspection = recordInspection(spec, { ...sessionOptions, rows }, names);
    const { conversation } = (await conversations.take([]))!;
    const { state } = conversation.steps;
    try {
      return await runInspection(gpu, weights, spec, inspection, ids, rows, {
        ...sessionOptions,
        borrow: (name) => (name.startsWith('kv.') ? state.buffer(name) : undefined),
      });
    } finally {
      conversations.release(conversation);
    }
  }

  return {
    generate,
    inspect,
    get counts() {
      return { ...executor.counts, ...runner.counts, gpuPeakBytes: gpu.buffers.memory.peakBytes };
    },
    kernelCode() {
      const byCode = new Map(executor.dispatches().map((d) => [d.code, d.label]));
      return [...byCode].map(([code, label]) => `// ${label}\n${code}`);
    },
    dispose() {
      isDisposed = true;
      conversations.fail(new ModelStateError('This model was disposed of; load it again.'));
      chances?.then((made) => made.dispose()).catch(() => {});
      runner.dispose();
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
