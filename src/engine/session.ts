/**
 * @file Token ids in, token ids out: keeps the KV cache and what is in it, reuses the longest common prefix, prefills in
 * chunks, keeps several decode steps in flight, and samples on the GPU. One generation runs at a time. It must not know
 * text, chat templates or files.
 */
import { kernels } from '../../kernels/index.ts';
import {
  NUM_RESULT_WORDS,
  packCounts,
  packSampling,
  type SamplingParams,
  unpackResult,
} from '../../kernels/sample/layout.ts';
import { ContextLengthError, InvalidInputError, ModelStateError, NumericalError } from '../errors.ts';
import { createReadbackRing, readBuffer } from '../gpu/buffers.ts';
import type { GpuContext } from '../gpu/device.ts';
import { rowSize } from '../graph/graph.ts';
import type { Plan } from '../graph/plan.ts';
import { ropeAngles } from '../graph/rope.ts';
import type { GpuWeights } from '../weights/upload.ts';
import { createExecutor, type ExecutorOptions } from './executor.ts';
import { ANGLES, type ModelSpec, type RecordOptions, recordInspection, TOKENS } from './recording.ts';

export interface SessionOptions extends ExecutorOptions {
  capacity: number;
  kvDtype: 'f16' | 'f32';
  prefillRows: number;
  fuse?: boolean;
  reuse?: boolean;
}

export interface TokenOptions {
  sampling: SamplingParams;
  logitBias?: Readonly<Record<number, number>>;
  maxTokens: number;
  /** Asked about every token; false ends the generation with it. */
  accept: (id: number) => boolean;
  signal?: AbortSignal;
}

export interface TokenResult {
  finishReason: 'stop' | 'length' | 'abort';
  cachedTokens: number;
  /** Milliseconds. */
  prefillTime: number;
  decodeTime: number;
}

export interface Inspected {
  /** Rows are the positions of the ids. */
  shape: [rows: number, cols: number];
  data: Float32Array;
}

export interface Session {
  /** Ids that follow `ids`, as they are known; the token that is not accepted comes last. */
  generate(ids: readonly number[], options: TokenOptions): AsyncGenerator<number, TokenResult>;
  /** Values of named tensors at every position of `ids`, computed anew with `rows` rows a step. */
  inspect(ids: readonly number[], names: readonly string[], rows: number): Promise<Map<string, Inspected>>;
  /** The assembled WGSL of every kernel, each under its label. */
  kernelCode(): string[];
  /** Totals since the session began. */
  readonly counts: { submits: number; dispatches: number; readbacks: number };
  dispose(): void;
}

const RESULT_BYTES = NUM_RESULT_WORDS * 4;
/** Decode steps submitted before the oldest is read: hides the latency of reading back. A slow adapter gains nothing. */
const STEPS_IN_FLIGHT = 3;

export async function createSession(
  gpu: GpuContext,
  weights: GpuWeights,
  spec: ModelSpec,
  plans: { decode: Plan; prefill: Plan },
  sessionOptions: SessionOptions,
): Promise<Session> {
  const { device } = gpu;
  const { vocabSize, rope } = spec.config;
  const { capacity, prefillRows } = sessionOptions;
  const executor = await createExecutor(gpu, weights, plans, kernels, sessionOptions);
  const depth = gpu.info.isFallback ? 1 : STEPS_IN_FLIGHT;
  const ring = createReadbackRing(gpu.buffers, RESULT_BYTES, depth + 1);
  const result = executor.session('result');
  // Chunks before the last stop where the row for the logits is picked.
  const headStart = executor.programs.prefill.dispatches.findIndex((d) => d.op.kind === 'lastRow');
  /** Ids whose keys and values are in the cache, by position. */
  const cached: number[] = [];
  const counts = { submits: 0, dispatches: 0, readbacks: 0 };
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

  function writeStep(ids: ArrayLike<number>, position: number, sequenceLength: number, target: string): void {
    device.queue.writeBuffer(executor.session(target), 0, Uint32Array.from(ids));
    writeAngles(position, ids.length, sequenceLength);
  }

  function writeAngles(position: number, rows: number, sequenceLength: number): void {
    device.queue.writeBuffer(executor.session(ANGLES), 0, ropeAngles(rope, position, rows, sequenceLength));
  }

  function writeSampling(ids: readonly number[], { sampling, logitBias = {} }: TokenOptions): void {
    const write = (name: string, words: GPUAllowSharedBufferSource): void =>
      device.queue.writeBuffer(executor.session(name), 0, words);
    const hasBias = Object.keys(logitBias).length > 0;
    write('sampling', packSampling(sampling, { hasBias }));
    write('counts', packCounts(vocabSize, ids));
    if (hasBias) write('bias', denseBias(logitBias, vocabSize));
  }

  /** Runs the prompt from `position` on; the last chunk samples, and its result is what the returned promise gives. */
  async function prefill(
    ids: readonly number[],
    from: number,
    signal?: AbortSignal,
  ): Promise<(() => Promise<Uint32Array>) | undefined> {
    let read: (() => Promise<Uint32Array>) | undefined;
    let previous: Promise<void> | undefined;
    for (let position = from; position < ids.length; ) {
      if (signal?.aborted) return undefined;
      const rows = Math.min(prefillRows, ids.length - position);
      const isLast = position + rows === ids.length;
      const name = rows === 1 ? 'decode' : 'prefill';
      writeStep(ids.slice(position, position + rows), position, ids.length, rows === 1 ? 'token' : TOKENS);
      const step = { rows, position };
      if (isLast) read = executor.submit(name, step, { after: (encoder) => ring.copy(encoder, result) });
      else executor.submit(name, step, { until: headStart });
      position += rows;
      for (let i = cached.length; i < position; i++) cached.push(ids[i]!);
      // One chunk runs while the next is prepared, so that an abort is answered soon.
      await previous;
      previous = isLast ? undefined : device.queue.onSubmittedWorkDone();
    }
    return read;
  }

  async function* generate(
    ids: readonly number[],
    options: TokenOptions,
  ): AsyncGenerator<number, TokenResult> {
    checkPrompt(ids, vocabSize, capacity);
    const release = await takeTurn();
    const { signal } = options;
    const pending: Promise<Uint32Array>[] = [];
    const generated: number[] = [];
    let numSubmitted = 0;
    let isBroken = false;
    const began = performance.now();
    let prefilled = began;
    const reused = Math.min(commonPrefix(cached, ids), ids.length - 1);
    const finish = (finishReason: TokenResult['finishReason']): TokenResult => ({
      finishReason,
      cachedTokens: reused,
      prefillTime: prefilled - began,
      decodeTime: performance.now() - prefilled,
    });
    try {
      writeSampling(ids, options);
      cached.length = reused;
      const first = await prefill(ids, reused, signal);
      if (!first) return finish('abort');
      pending.push(start(first));
      const maxTokens = Math.min(options.maxTokens, capacity - ids.length + 1);
      numSubmitted = 1;
      for (let numRead = 0; numRead < maxTokens; numRead++) {
        while (pending.length < depth && numSubmitted < maxTokens) {
          const position = ids.length + numSubmitted - 1;
          writeAngles(position, 1, position + 1);
          pending.push(
            start(
              executor.submit(
                'decode',
                { rows: 1, position },
                { after: (encoder) => ring.copy(encoder, result) },
              ),
            ),
          );
          numSubmitted++;
        }
        const words = await pending.shift()!;
        counts.readbacks++;
        const picked = unpackResult(words);
        if (!picked.isFinite) {
          isBroken = true;
          throw new NumericalError(
            `The model computed NaN or infinite logits at position ${ids.length + numRead}; no token was sampled. Try precision: 'f32', and check the checkpoint.`,
          );
        }
        if (numRead === 0) prefilled = performance.now();
        generated.push(picked.token);
        if (signal?.aborted) return finish('abort');
        const isLast = !options.accept(picked.token);
        yield picked.token;
        if (isLast) return finish('stop');
        if (signal?.aborted) return finish('abort');
      }
      return finish('length');
    } catch (error) {
      if (isDisposed) return finish('abort');
      gpu.throwIfFaulty();
      throw error;
    } finally {
      await Promise.allSettled(pending);
      // A token is in the cache once the step that reads it was submitted: every step but the first reads one.
      if (isBroken) cached.length = 0;
      else cached.push(...generated.slice(0, Math.max(0, numSubmitted - 1)));
      Object.assign(counts, executor.counts);
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
    const recording: RecordOptions = { ...sessionOptions, rows };
    const { plan, kept } = recordInspection(spec, recording, names);
    const release = await takeTurn();
    let inspector: Awaited<ReturnType<typeof createExecutor<'inspect'>>> | undefined;
    try {
      inspector = await createExecutor(gpu, weights, { inspect: plan }, kernels, {
        ...sessionOptions,
        borrow: (name) => (name.startsWith('kv.') ? executor.session(name) : undefined),
      });
      cached.length = 0;
      const found = new Map<string, Inspected>();
      for (const [name, tensor] of kept) {
        found.set(name, {
          shape: [ids.length, rowSize(tensor)],
          data: new Float32Array(ids.length * rowSize(tensor)),
        });
      }
      for (let position = 0; position < ids.length; position += rows) {
        const chunk = ids.slice(position, position + rows);
        device.queue.writeBuffer(inspector.session(TOKENS), 0, Uint32Array.from(chunk));
        device.queue.writeBuffer(
          inspector.session(ANGLES),
          0,
          ropeAngles(rope, position, chunk.length, ids.length),
        );
        inspector.submit('inspect', { rows: chunk.length, position });
        for (const [name, tensor] of kept) {
          const values = new Float32Array(
            await readBuffer(gpu.buffers, inspector.stepBuffer('inspect', tensor)),
          );
          const { shape, data } = found.get(name)!;
          for (let r = 0; r < chunk.length; r++) {
            const row = values.subarray(r * tensor.rowStride, r * tensor.rowStride + shape[1]);
            data.set(row, (position + r) * shape[1]);
          }
        }
      }
      return found;
    } finally {
      inspector?.dispose();
      release();
    }
  }

  return {
    generate,
    inspect,
    counts,
    kernelCode() {
      const { decode, prefill } = executor.programs;
      const byCode = new Map([...decode.dispatches, ...prefill.dispatches].map((d) => [d.code, d.label]));
      return [...byCode].map(([code, label]) => `// ${label}\n${code}`);
    },
    dispose() {
      isDisposed = true;
      ring.dispose();
      executor.dispose();
    },
  };
}

/** Begins a readback; its failure is reported to whoever awaits it, not as an unhandled rejection before that. */
function start(read: () => Promise<Uint32Array>): Promise<Uint32Array> {
  const words = read();
  words.catch(() => {});
  return words;
}

function denseBias(
  logitBias: Readonly<Record<number, number>>,
  vocabSize: number,
): Float32Array<ArrayBuffer> {
  const bias = new Float32Array(vocabSize);
  for (const [id, value] of Object.entries(logitBias)) {
    if (!(Number(id) < vocabSize)) {
      throw new InvalidInputError(`logitBias names the token ${id}, wanted ids from 0 to ${vocabSize - 1}`);
    }
    if (Number.isNaN(value) || value === Number.POSITIVE_INFINITY) {
      throw new InvalidInputError(
        `logitBias of token ${id} is ${value}, wanted a finite number, or -Infinity to ban the token`,
      );
    }
    bias[Number(id)] = value;
  }
  return bias;
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
