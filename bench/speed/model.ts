/**
 * @file The speed of whole models with random weights: prefill and decode at growing contexts, what a token costs besides time
 * (dispatches, submits, readbacks, bytes, JavaScript), and memory.
 */

import type { LoadOptions, SamplingOptions } from '../../src/index.ts';
import { samplingParams } from '../../src/runtime/load/generation-config.ts';
import { openModel, type StartedModel, startModel } from '../../src/runtime/load/load.ts';
import { cpuMilliseconds, cpuSince } from '../cpu-time.ts';
import { randomSource } from '../random-checkpoint.ts';
import type { Config } from './shapes.ts';

export interface ContextSpeed {
  /** Tokens in the cache when decoding begins. */
  context: number;
  prefillTokensPerSecond: number;
  /** Milliseconds from the call to the first token. */
  timeToFirstToken: number;
  decodeTokensPerSecond: number;
  /** Of a decoded token: CPU time of the whole process. Undefined in pages. */
  cpuMsPerToken?: number | undefined;
}

export interface ModelSpeed {
  shape: string;
  weights: string;
  loadSeconds: number;
  /** From the weights' last byte to a session that answers. */
  compileSeconds: number;
  weightBytes: number;
  kvBytes: number;
  /** The most that all buffers took since before loading. */
  peakBytes: number;
  contexts: ContextSpeed[];
  /** Of all programs. */
  pipelines: number;
  perToken: {
    dispatches: number;
    submits: number;
    readbacks: number;
    readbackBytes: number;
    weightBytes: number;
    /** Milliseconds of JavaScript and of the calls it makes: median. */
    hostMilliseconds: number;
  };
  /** The speed of decoding with temperature, top-k 20, top-p and penalties, over that of greedy decoding just before or after: median. */
  sampledOverGreedy: number;
}

export interface ModelOptions {
  shape: string;
  config: Config;
  weights: LoadOptions['weights'];
  contexts: readonly number[];
  tokens: number;
  runs: number;
  gpu?: GPU | undefined;
}

const GREEDY: SamplingOptions = { temperature: 0 };
const SAMPLED: SamplingOptions = {
  temperature: 0.8,
  topK: 20,
  topP: 0.95,
  repetitionPenalty: 1.1,
  presencePenalty: 0.5,
};

/** Greedy and sampled answers per run: their speeds differ by less than those of two runs on a busy machine. */
const PAIRS = 4;

export async function measureModel(options: ModelOptions): Promise<ModelSpeed> {
  const { shape, config, weights, contexts, tokens, runs, gpu } = options;
  let uploaded = 0;
  const load: LoadOptions = {
    weights,
    contextLength: Math.max(...contexts) + 2 * tokens + 2,
    ...(gpu && { gpu }),
    onProgress: ({ phase }) => {
      if (phase === 'compile') uploaded = performance.now();
    },
  };
  const began = performance.now();
  const model = await startModel(await openModel(randomSource({ config }), load), load);
  const ready = performance.now();
  try {
    // The first pass of each kernel is dear: some drivers compile only then.
    await answer(model, randomIds(config, contexts[0]!), 3, GREEDY);
    const speeds: ContextSpeed[] = [];
    for (const context of contexts) speeds.push(await measureContext(model, config, context, tokens, runs));
    const ratios: number[] = [];
    const ids = randomIds(config, contexts[0]!);
    const steps: Counts[] = [];
    for (let pair = 0; pair < PAIRS * runs; pair++) {
      const isGreedyFirst = pair % 2 === 0;
      const first = await answer(model, ids, tokens, isGreedyFirst ? GREEDY : SAMPLED);
      const second = await answer(model, ids, tokens, isGreedyFirst ? SAMPLED : GREEDY);
      const [greedy, sampled] = isGreedyFirst ? [first, second] : [second, first];
      steps.push(...greedy.steps);
      ratios.push(sampled.decodeRate / greedy.decodeRate);
    }
    const { info } = model;
    return {
      shape,
      weights: weights ?? 'bf16',
      loadSeconds: (uploaded - began) / 1000,
      compileSeconds: (ready - uploaded) / 1000,
      weightBytes: info.weightBytes,
      kvBytes: info.kvBytes,
      peakBytes: model.session.counts.gpuPeakBytes,
      contexts: speeds,
      pipelines: model.session.kernelCode().length,
      perToken: {
        dispatches: info.dispatchesPerToken,
        submits: median(steps.map((step) => step.submits)),
        readbacks: median(steps.map((step) => step.readbacks)),
        readbackBytes: median(steps.map((step) => step.readbackBytes)),
        weightBytes: info.activeWeightBytesPerToken,
        hostMilliseconds: median(steps.map((step) => step.hostMilliseconds)),
      },
      sampledOverGreedy: median(ratios),
    };
  } finally {
    model.dispose();
  }
}

/** Undefined where the values are. */
export const median = <T extends number | undefined>(values: readonly T[]): T =>
  values.toSorted((a, b) => (a ?? 0) - (b ?? 0))[values.length >> 1]!;

export function randomIds(config: Config, count: number): number[] {
  return Array.from({ length: count }, () => Math.floor(Math.random() * (config.vocab_size as number)));
}

const COUNTED = ['submits', 'readbacks', 'readbackBytes', 'hostMilliseconds'] as const;
type Counts = Pick<StartedModel['session']['counts'], (typeof COUNTED)[number]>;

function difference(now: Counts, before: Counts): Counts {
  return Object.fromEntries(COUNTED.map((key) => [key, now[key] - before[key]])) as unknown as Counts;
}

async function answer(model: StartedModel, ids: number[], maxTokens: number, sampling: SamplingOptions) {
  const began = performance.now();
  const generation = model.session.generate(ids, {
    sampling: samplingParams({ ...sampling, seed: 1 }, model.info.samplingDefaults),
    maxTokens,
    accept: () => true,
  });
  let next = await generation.next();
  const first = performance.now() - began;
  const cpu = cpuMilliseconds();
  const steps: Counts[] = [];
  for (let before = model.session.counts; !next.done; ) {
    next = await generation.next();
    const now = model.session.counts;
    steps.push(difference(now, before));
    before = now;
  }
  const cpuTime = cpuSince(cpu);
  const { cachedTokens, prefillTime, decodeTime } = next.value;
  return {
    cachedTokens,
    first,
    /** What each token took. */
    steps,
    prefillRate: (1000 * ids.length) / prefillTime,
    decodeRate: (1000 * (maxTokens - 1)) / decodeTime,
    cpuMsPerToken: cpuTime && cpuTime / (maxTokens - 1),
  };
}

type Answered = Awaited<ReturnType<typeof answer>>;

/** Milliseconds. */
const LONG_PREFILL = 5000;

async function measureContext(
  model: StartedModel,
  config: Config,
  context: number,
  tokens: number,
  runs: number,
): Promise<ContextSpeed> {
  const all: Answered[] = [];
  let ids = randomIds(config, context);
  for (let run = 0; run < runs; run++) {
    // What takes long is computed once; the answers then begin with what is in the cache.
    if (run > 0 && all[0]!.first < LONG_PREFILL) ids = randomIds(config, context);
    all.push(await answer(model, ids, tokens, GREEDY));
  }
  const prefilled = all.filter((a) => a.cachedTokens === 0);
  return {
    context,
    prefillTokensPerSecond: median(prefilled.map((a) => a.prefillRate)),
    timeToFirstToken: median(prefilled.map((a) => a.first)),
    decodeTokensPerSecond: median(all.map((a) => a.decodeRate)),
    cpuMsPerToken: median(all.map((a) => a.cpuMsPerToken)),
  };
}
