/**
 * @file The steps of conversations: writes what a program reads, submits it, reads what it sampled, and keeps account of what
 * is in the KV caches. Decoding, speculation and prefill are made of these steps. It must not know what they are for.
 */
import { kernels } from '../../kernels/index.ts';
import {
  NUM_RESULT_WORDS,
  packCounts,
  packSampling,
  type SamplingParams,
  unpackResult,
} from '../../kernels/sample/layout.ts';
import { InvalidInputError, NumericalError } from '../errors.ts';
import { bufferSize, createReadbackRing, type ReadbackRing } from '../gpu/buffers.ts';
import type { GpuContext } from '../gpu/device.ts';
import { tensorBytes } from '../graph/graph.ts';
import { ropeAngles } from '../graph/rope.ts';
import type { ModelConfig } from '../models/model.ts';
import type { GpuWeights } from '../weights/upload.ts';
import type { TopOfRows, TopReader } from './chances.ts';
import {
  cacheTensors,
  createExecutor,
  type Executor,
  type ExecutorBytes,
  type ExecutorOptions,
  executorBytes,
  type State,
} from './executor.ts';
import { ANGLES, MAX_DRAFTS, NEXT_TOKENS, type Plans, TOKENS } from './recording.ts';
import type { Speculation, TokenChance } from './types.ts';

export type ProgramName = keyof Plans;

export interface StepInput {
  position: number;
  rows: number;
  /** What the rows are computed from; rows without one read what the GPU itself has written. */
  ids?: readonly number[];
  /** Tokens in the whole context. Default: up to the last row. */
  sequenceLength?: number;
}

/** What the steps so far have left in the caches. */
export interface Cache {
  /** Ids whose keys and values are in the model's cache, by position. */
  ids: number[];
  /** Rows in the cache of the module that drafts. */
  numDrafted: number;
}

/** What the model thought of a token that was sampled. */
export interface Chance {
  readonly logprob: number;
  /** The likeliest tokens, the likeliest first. */
  readonly top: readonly TokenChance[];
}

/** What a step sampled. */
export interface Picked {
  /** Of `verify` one for each row that counts, else one. */
  readonly tokens: readonly number[];
  /** Of each token, when they were asked for. */
  readonly chances: readonly Chance[] | undefined;
}

/** The steps of one conversation. */
export interface Steps {
  readonly state: State<ProgramName>;
  readonly cache: Cache;
  /** Steps that may be in flight. */
  readonly depth: number;
  /** The program of a step of one row that samples. */
  readonly single: ProgramName;
  /** Writes what the sampler reads at the start of a generation; the last `numAnswered` ids are no prompt but output. */
  writeSampling(
    ids: readonly number[],
    sampling: SamplingParams,
    options: {
      bias: Readonly<Record<number, number>>;
      hasMask: boolean;
      numAnswered: number;
      /** Tell the chances of tokens, with so many of the likeliest, which `top` reads. */
      numTop?: number | undefined;
      top?: TopReader | undefined;
    },
  ): void;
  /** Bits of the tokens that the steps from now on may sample; undefined: all. */
  writeMask(mask: Uint32Array | undefined): void;
  /** Submits a step; `body`: only up to the rows' hidden states and caches, no logits. */
  run(name: ProgramName, input: StepInput, part: 'all' | 'body'): void;
  /** Submits a step and gives what it samples. @throws NumericalError */
  sample(name: ProgramName, input: StepInput): Promise<Picked>;
  /** Takes the first rows of another conversation's caches, and nothing else. */
  copyCaches(from: Steps, numIds: number): void;
}

/** What the conversations of a session share. */
export interface Runner {
  readonly executor: Executor<ProgramName>;
  /** Steps of a conversation that may be in flight. */
  readonly depth: number;
  /** The steps of the first conversation. */
  readonly first: Steps;
  /** Those of another one. @throws DeviceLimitError when there is no memory for it; everything works on then */
  add(): Promise<Steps>;
  /** Totals so far; `hostMilliseconds` is what submitting steps that sample took of the host's thread. */
  readonly counts: {
    readonly readbacks: number;
    readonly readbackBytes: number;
    readonly hostMilliseconds: number;
  };
  dispose(): void;
}

/** Decode steps submitted before the oldest is read: hides the latency of reading back. A slow adapter gains nothing. */
const STEPS_IN_FLIGHT = 3;

export async function createRunner(
  gpu: GpuContext,
  weights: GpuWeights,
  { vocabSize, rope }: ModelConfig,
  plans: Plans,
  options: ExecutorOptions & { speculate?: Speculation },
): Promise<Runner> {
  const { device } = gpu;
  const { speculate } = options;
  const single = speculate === 'mtp' ? 'verify' : 'decode';
  const executor = await createExecutor<ProgramName>(
    gpu,
    weights,
    programsOf(plans, speculate),
    kernels,
    options,
  );
  const depth = depthOn(gpu.info);
  const counts = { readbacks: 0, readbackBytes: 0, hostMilliseconds: 0 };
  let everyToken: Uint32Array | undefined;
  const caches = cacheTensors(Object.values(plans));
  const rings: ReadbackRing[] = [];

  function createSteps(state: State<ProgramName>): Steps {
    const ring = createReadbackRing(gpu.buffers, resultBytes(speculate), depth + 1);
    rings.push(ring);
    const result = state.buffer('result');
    let numTop: number | undefined;
    let top: TopReader | undefined;

    const write = (name: string, words: GPUAllowSharedBufferSource): void =>
      device.queue.writeBuffer(state.buffer(name), 0, words);

    function writeStep(name: ProgramName, { position, rows, ids, sequenceLength }: StepInput): void {
      if (ids) write(tokensOf(name), Uint32Array.from(ids));
      write(ANGLES, ropeAngles(rope, position, rows, sequenceLength ?? position + rows));
    }

    function unpack(words: Uint32Array, rows: number, likeliest?: TopOfRows): Picked {
      counts.readbacks++;
      counts.readbackBytes += words.byteLength;
      const tokens: number[] = [];
      const chances: Chance[] | undefined = numTop === undefined ? undefined : [];
      for (let row = 0; row < rows; row++) {
        const picked = unpackResult(words.subarray(NUM_RESULT_WORDS * row, NUM_RESULT_WORDS * (row + 1)));
        if (picked.isSkipped) break;
        if (!picked.isFinite) {
          throw new NumericalError(
            `The model computed NaN or infinite logits at position ${picked.position}; no token was sampled. Try precision: 'f32', and check the checkpoint.`,
          );
        }
        tokens.push(picked.token);
        chances?.push({ logprob: picked.modelLogprob, top: likeliest?.(row, picked, numTop!) ?? [] });
      }
      return { tokens, chances };
    }

    return {
      state,
      cache: { ids: [], numDrafted: 0 },
      depth,
      single,
      writeSampling(ids, sampling, options) {
        const { bias, hasMask, numAnswered } = options;
        ({ numTop, top } = options);
        const hasBias = Object.keys(bias).length > 0;
        write('sampling', packSampling(sampling, { hasBias, hasMask }));
        const begin = ids.length - numAnswered;
        write('counts', packCounts(vocabSize, ids.slice(0, begin), ids.slice(begin)));
        if (hasBias) write('bias', denseBias(bias, vocabSize));
      },
      writeMask(mask) {
        everyToken ??= new Uint32Array(Math.ceil(vocabSize / 32)).fill(0xffff_ffff);
        write('mask', (mask ?? everyToken) as Uint32Array<ArrayBuffer>);
      },
      run(name, input, part) {
        writeStep(name, input);
        const until = part === 'body' ? bodyEnd(executor, name) : undefined;
        executor.submit(name, { rows: input.rows, position: input.position }, { state, until });
      },
      sample(name, input) {
        const began = performance.now();
        writeStep(name, input);
        const { rows, position } = input;
        const step = { rows, position };
        const read = executor.submit(name, step, {
          state,
          after: (encoder) => ring.copy(encoder, result),
        });
        const numResults = name === 'verify' ? rows : 1;
        const words = read();
        const likeliest = top?.read(name, step);
        const picked = likeliest
          ? Promise.all([words, likeliest]).then(([found, of]) => unpack(found, numResults, of))
          : words.then((found) => unpack(found, numResults));
        // A failure is reported to whoever awaits the tokens, not as an unhandled rejection before that.
        picked.catch(() => {});
        counts.hostMilliseconds += performance.now() - began;
        return picked;
      },
      copyCaches(from, numIds) {
        const encoder = device.createCommandEncoder();
        for (const tensor of caches) {
          const [source, target] = [from.state.buffer(tensor.name), state.buffer(tensor.name)];
          const bytes = (numIds * tensorBytes(tensor)) / tensor.shape[0]!;
          encoder.copyBufferToBuffer(source, 0, target, 0, bytes);
        }
        device.queue.submit([encoder.finish()]);
      },
    };
  }

  return {
    executor,
    depth,
    counts,
    first: createSteps(executor.state),
    add: async () => createSteps(await executor.addState()),
    dispose() {
      for (const ring of rings) ring.dispose();
      executor.dispose();
    },
  };
}

/** The programs that are run. */
function programsOf({ decode, ...others }: Plans, speculate: Speculation | undefined): Partial<Plans> {
  return speculate === 'mtp' ? others : { decode, ...others };
}

type AdapterKind = Pick<GpuContext['info'], 'isFallback'>;

const depthOn = ({ isFallback }: AdapterKind): number => (isFallback ? 1 : STEPS_IN_FLIGHT);

/** Results of the rows of a step. */
const resultBytes = (speculate: Speculation | undefined): number =>
  4 * NUM_RESULT_WORDS * (speculate ? 1 + MAX_DRAFTS[speculate] : 1);

/** What the buffers of `createRunner` and of all its conversations take. */
export function runnerBytes(
  plans: Plans,
  { speculate, conversations }: { speculate?: Speculation | undefined; conversations: number },
  info: AdapterKind,
): ExecutorBytes {
  const bytes = executorBytes(Object.values(programsOf(plans, speculate)), conversations);
  const ringBytes = (depthOn(info) + 1) * bufferSize(resultBytes(speculate));
  return { ...bytes, activationBytes: bytes.activationBytes + conversations * ringBytes };
}

/** The session tensor from which a program reads the tokens of its rows. */
function tokensOf(name: ProgramName): string {
  if (name === 'decode') return 'token';
  return name === 'draft' || name === 'draftPrefill' ? NEXT_TOKENS : TOKENS;
}

/** Dispatches up to where rows are picked for the logits. */
function bodyEnd(executor: Executor<ProgramName>, name: ProgramName): number {
  return executor
    .program(name)
    .dispatches.findIndex(({ op }) => op.kind === 'lastRow' || op.kind === 'sampleScale');
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
