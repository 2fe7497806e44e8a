/**
 * @file What sequences that decode side by side cost, beside one alone: one model with random weights, numbers of sequences in turns.
 * What is measured is the part of a run in which all of them decode. Gives plain data; prints nothing but lines.
 */

import { activeWeightBytes } from '../../src/graph/plan.ts';
import type { LoadOptions, SamplingOptions } from '../../src/index.ts';
import { samplingParams } from '../../src/runtime/load/generation-config.ts';
import { openModel, type StartedModel, startModel } from '../../src/runtime/load/load.ts';
import { type ProgramName, recordPlan, rowCountFor } from '../../src/runtime/program/plans.ts';
import { cpuMilliseconds, cpuSince } from '../cpu-time.ts';
import { randomSource } from '../random-checkpoint.ts';
import { median, randomIds } from './model.ts';
import { type Config, SHAPES, type ShapeName } from './shapes.ts';
import { adapterName, type SuiteResult } from './suite.ts';

export interface BatchSpeed {
  shape: string;
  weights: string;
  /** That decode side by side. */
  sequences: number;
  /** Of all sequences together. */
  tokensPerSecond: number;
  /** CPU time of the whole process. Undefined in pages. */
  cpuMsPerToken?: number | undefined;
  /** `cpuMsPerToken` over that of one sequence in the same turn. */
  cpuOverOne?: number | undefined;
  dispatchesPerPass: number;
  /** Weights that a pass binds. */
  weightBytesPerPass: number;
  /** What passes really held: as many as there are, unless the scheduler could not bring them together. */
  sequencesPerPass: number;
}

export interface BatchOptions {
  shapes: readonly ShapeName[];
  weights: readonly NonNullable<LoadOptions['weights']>[];
  /** Numbers of sequences; one alone is measured in any case. */
  batch: readonly number[];
  promptTokens: number;
  /** Of each sequence, from when all have their first. */
  tokens: number;
  runs: number;
}

export interface BatchResult {
  adapter: SuiteResult['adapter'];
  environment: string;
  date: string;
  options: BatchOptions;
  batch: BatchSpeed[];
}

const GREEDY: SamplingOptions = { temperature: 0 };
/** Tokens that a sequence may be ahead for each that joins after it: their prompts are computed in its turns. */
const AHEAD = 16;
/** A program for many rows may take minutes to compile on a software adapter. */
const WARM_UPS = 600;
/** Milliseconds. */
const WARM_UP_PAUSE = 1000;
/** Fewer sequences in a pass than this share are told of. */
const LEAST_SHARE = 0.95;

export async function runBatch(
  options: BatchOptions,
  { gpu, environment, onLine }: { gpu?: GPU; environment: string; onLine: (line: string) => void },
): Promise<BatchResult> {
  const sequences = [...new Set([1, ...options.batch])].toSorted((a, b) => a - b);
  let adapter: SuiteResult['adapter'] | undefined;
  const batch: BatchSpeed[] = [];
  for (const shape of options.shapes) {
    for (const weights of options.weights) {
      const measured = await measureModel({ ...options, sequences, shape, weights, gpu, onLine });
      if (!adapter) onLine(adapterName(measured.adapter));
      adapter ??= measured.adapter;
      batch.push(...measured.speeds);
      for (const line of batchLines(measured.speeds)) onLine(line);
    }
  }
  return { adapter: adapter!, environment, date: new Date().toISOString(), options, batch };
}

interface Measurement {
  shape: ShapeName;
  weights: NonNullable<LoadOptions['weights']>;
  sequences: readonly number[];
  promptTokens: number;
  tokens: number;
  runs: number;
  gpu?: GPU | undefined;
  onLine: (line: string) => void;
}

async function measureModel({
  shape,
  weights,
  sequences,
  promptTokens,
  tokens,
  runs,
  gpu,
  onLine,
}: Measurement): Promise<{ adapter: SuiteResult['adapter']; speeds: BatchSpeed[] }> {
  const config = SHAPES[shape];
  const most = sequences.at(-1)!;
  const contextLength = promptTokens + tokens + AHEAD * most;
  const load: LoadOptions = {
    weights,
    contextLength,
    maxSequences: most,
    cacheTokens: most * contextLength,
    ...(gpu && { gpu }),
  };
  const opened = await openModel(randomSource({ config }), load);
  const model = await startModel(opened, load);
  try {
    onLine(`${shape} ${weights}: loaded`);
    for (const count of sequences) {
      await warmUp(model, config, count);
      onLine(`${shape} ${weights}: warm for ${count}`);
    }
    const turns: Map<number, Run>[] = [];
    for (let turn = 0; turn < runs; turn++) {
      const measured = new Map<number, Run>();
      for (const count of sequences) {
        measured.set(count, await decodeTogether(model, config, { count, promptTokens, tokens }));
      }
      turns.push(measured);
      onLine(`${shape} ${weights}: turn ${turn + 1} of ${runs}`);
    }
    const speeds = sequences.map((count): BatchSpeed => {
      const every = turns.map((measured) => measured.get(count)!);
      const plan = recordPlan(opened.spec, opened.sessionOptions, programOf(count));
      return {
        shape,
        weights,
        sequences: count,
        tokensPerSecond: median(every.map((run) => run.tokensPerSecond)),
        cpuMsPerToken: median(every.map((run) => run.cpuMsPerToken)),
        cpuOverOne: median(
          turns.map((measured) => {
            const [one, these] = [measured.get(1)!.cpuMsPerToken, measured.get(count)!.cpuMsPerToken];
            return one && these && these / one;
          }),
        ),
        dispatchesPerPass: median(every.map((run) => run.dispatchesPerPass)),
        weightBytesPerPass: activeWeightBytes(plan),
        sequencesPerPass: median(every.map((run) => run.sequencesPerPass)),
      };
    });
    const { adapter, features } = model.info;
    const { vendor, architecture, description } = adapter;
    return { adapter: { vendor, architecture, description, features }, speeds };
  } finally {
    model.dispose();
  }
}

const programOf = (sequences: number): ProgramName => `rows${rowCountFor(sequences)}`;

let numSalts = 0;
/** Greedy, and nothing is taken up from what others have computed. */
const alone = ({ info }: StartedModel) => ({
  sampling: samplingParams({ ...GREEDY, seed: 1 }, info.samplingDefaults),
  salt: `${numSalts++}`,
});

/** Short answers until the program for so many sequences has compiled and run. */
async function warmUp(model: StartedModel, config: Config, count: number): Promise<void> {
  const hasRun = (): boolean => (model.session.counts.passes[programOf(count)] ?? 0) > 0;
  for (let i = 0; i < WARM_UPS; i++) {
    const answers = Array.from({ length: count }, async () => {
      const options = { ...alone(model), maxTokens: count + 4, accept: () => !hasRun() };
      await drain(model.session.generate(randomIds(config, 2), options));
    });
    await Promise.all(answers);
    if (hasRun()) return;
    // What compiles should have the processor.
    await new Promise((resolve) => setTimeout(resolve, WARM_UP_PAUSE));
  }
  throw new Error(`The program ${programOf(count)} never ran; does the session take ${count} sequences?`);
}

async function drain<T>(generation: AsyncGenerator<number, T>): Promise<T> {
  for (;;) {
    const next = await generation.next();
    if (next.done) return next.value;
  }
}

interface Run {
  tokensPerSecond: number;
  cpuMsPerToken: number | undefined;
  dispatchesPerPass: number;
  sequencesPerPass: number;
}

/** Sequences that begin together. Each goes on until it has so many tokens from when all had their first, so that all end together. */
async function decodeTogether(
  model: StartedModel,
  config: Config,
  { count, promptTokens, tokens }: { count: number; promptTokens: number; tokens: number },
): Promise<Run> {
  const { session } = model;
  const now = () => {
    const { dispatches, bySequences } = session.counts;
    return { time: performance.now(), cpu: cpuMilliseconds(), dispatches, bySequences: [...bySequences] };
  };
  let numBegun = 0;
  let numDone = 0;
  let before: ReturnType<typeof now> | undefined;
  let after: ReturnType<typeof now> | undefined;
  let cpu: number | undefined;

  async function answer(): Promise<void> {
    let hasBegun = false;
    let numTokens = 0;
    const accept = (): boolean => {
      if (!hasBegun) {
        hasBegun = true;
        if (++numBegun === count) before = now();
      } else if (before && ++numTokens === tokens) {
        if (++numDone === count) {
          after = now();
          cpu = cpuSince(before.cpu);
        }
        return false;
      }
      return true;
    };
    const options = { ...alone(model), maxTokens: AHEAD * count + tokens, accept };
    const { finishReason } = await drain(session.generate(randomIds(config, promptTokens), options));
    if (finishReason !== 'stop')
      throw new Error(`A sequence of ${count} ended by ${finishReason} before all had ${tokens} tokens.`);
  }

  await Promise.all(Array.from({ length: count }, answer));
  const [begin, end] = [before!, after!];
  const passes = end.bySequences.map((n = 0, held) => ({ held, n: n - (begin.bySequences[held] ?? 0) }));
  const numPasses = passes.reduce((sum, { n }) => sum + n, 0);
  return {
    tokensPerSecond: (1000 * count * tokens) / (end.time - begin.time),
    cpuMsPerToken: cpu && cpu / (count * tokens),
    dispatchesPerPass: (end.dispatches - begin.dispatches) / numPasses,
    sequencesPerPass: passes.reduce((sum, { held, n }) => sum + held * n, 0) / numPasses,
  };
}

export function batchLines(speeds: readonly BatchSpeed[]): string[] {
  const cells = (...texts: string[]): string => texts.map((text) => text.padStart(14)).join('');
  return [
    cells('sequences', 'tokens/s', 'CPU ms/token', 'of one alone', 'dispatches', 'weights MiB', 'in a pass'),
    ...speeds.map((s) =>
      cells(
        String(s.sequences),
        s.tokensPerSecond.toFixed(2),
        s.cpuMsPerToken?.toFixed(2) ?? '',
        s.cpuOverOne?.toFixed(3) ?? '',
        s.dispatchesPerPass.toFixed(1),
        (s.weightBytesPerPass / 2 ** 20).toFixed(1),
        s.sequencesPerPass.toFixed(2),
      ),
    ),
    ...speeds
      .filter((s) => s.sequencesPerPass < LEAST_SHARE * s.sequences)
      .map(
        (s) =>
          `The passes of ${s.sequences} sequences held ${s.sequencesPerPass.toFixed(2)} on average: this row is not the cost of ${s.sequences} side by side.`,
      ),
  ];
}
