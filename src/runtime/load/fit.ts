/**
 * @file Whether a model fits a device, and what would: arithmetic on plans, headers and limits. It must not know a GPU or
 * touch weights.
 */
import { DeviceLimitError } from '../../errors.ts';
import { bufferSize } from '../../gpu/buffers.ts';
import type { GpuContext } from '../../gpu/device.ts';
import { splitRows } from '../../gpu/kernel.ts';
import { tensorBytes } from '../../graph/graph.ts';
import { type Plan, weightBytes } from '../../graph/plan.ts';
import type { Weight } from '../../graph/weight.ts';
import { formatAs } from '../../weights/resolve.ts';
import { blockLimits, runnerBytes } from '../generate/runner.ts';
import { type SessionOptions, unitsAtMost } from '../generate/session.ts';
import { type ExecutorBytes, kvTensors } from '../program/executor.ts';
import type { ModelSpec, Plans } from '../program/plans.ts';
import type { Fit, FitChoice, FitNeeds, LoadedFormat, LoadOptions, WantedFormat } from '../types.ts';

/** A model with its weights in some format. */
export interface Variant {
  readonly weights: LoadedFormat;
  readonly spec: ModelSpec;
  readonly plans: Plans;
}

/** What is asked about. */
export interface FitQuestion {
  readonly weights: NonNullable<LoadOptions['weights']>;
  /** Of what was asked for; with `auto` of the checkpoint as published. */
  readonly plans: Plans;
  readonly sessionOptions: Pick<
    SessionOptions,
    'capacity' | 'cacheTokens' | 'maxSequences' | 'prefillRows' | 'speculate'
  >;
  /** Of programs that are compiled when they are first needed: their buffers count too. */
  readonly laterPlans: readonly Plan[];
  /** Records the model with its weights in another format. */
  variant(weights: LoadedFormat): Variant;
}

export interface Space {
  /** The most that one buffer may have. */
  readonly bindingBytes: number;
  readonly memoryBytes: number | undefined;
  readonly info: Pick<GpuContext['info'], 'isFallback'>;
}

export interface Answer extends Pick<Fit, 'fits' | 'reasons' | 'best' | 'needed'> {
  /** What was asked for, or what is chosen for `auto`. */
  readonly chosen: LoadedFormat;
  /** Bytes on the GPU that `best` needs. */
  readonly bestBytes: number;
}

/** What loading may take on the GPU beside what stays, and frees again. */
const STAGING_BYTES = 64 << 20;
/** Shorter contexts hold no conversation, and are not offered in place of longer ones. */
const LEAST_CONTEXT = 256;

const SMALLER: readonly WantedFormat[] = ['int8', 'int4'];

/** The best that fits into a space. */
export function findFit(question: FitQuestion, space: Space): Answer {
  const { sessionOptions, plans } = question;
  const { capacity, cacheTokens, maxSequences } = sessionOptions;
  const { windows } = plans.rows1.graph.layout;
  const limitsFor = (tokens: number): number[] =>
    blockLimits(windows, { ...sessionOptions, cacheTokens: Math.ceil((tokens * cacheTokens) / capacity) });
  const asked = question.weights === 'auto' ? 'published' : question.weights;
  const weights = everyWeight(plans);
  const caches = kvTensors(everyPlan(plans));
  const common: Common = {
    ...runnerBytes(
      [...everyPlan(plans), ...question.laterPlans],
      sessionOptions,
      unitsAtMost(limitsFor(capacity), maxSequences),
      space.info,
    ),
    cacheBytes(tokens) {
      const unitsOf = unitsAtMost(limitsFor(tokens), maxSequences);
      return caches.map((t) => bufferSize(unitsOf(t.role!) * tensorBytes(t)));
    },
    capacity,
    cacheTokens,
  };
  const first = measure(asked, weights, common, space);
  let last = first;
  let published: Weight[] | undefined;
  for (const format of SMALLER.slice(SMALLER.indexOf(asked as WantedFormat) + 1)) {
    if (last.reasons.length === 0) break;
    published ??= asked === 'published' ? weights : everyWeight(question.variant('published').plans);
    // Programs are the same with every format; only the weights take other room.
    const converted = published.map((weight) => ({ ...weight, format: formatAs(weight, format) }));
    const candidate = measure(format, converted, common, space);
    // A quantised checkpoint stays what it is.
    if (candidate.needed.weightBytes < last.needed.weightBytes) last = candidate;
  }
  const isFitting = last.reasons.length === 0;
  const contextLength = isFitting ? capacity : last.longestContext;
  const chosen = question.weights === 'auto' && isFitting ? last : first;
  const { gpuBytes, kvBytes } = last.needed;
  return {
    fits: chosen.reasons.length === 0,
    reasons: chosen.reasons,
    best: contextLength === undefined ? undefined : choiceOf(last.weights, contextLength, sessionOptions),
    bestBytes: gpuBytes - kvBytes + sum(contextLength === undefined ? [] : common.cacheBytes(contextLength)),
    needed: chosen.needed,
    chosen: chosen.weights,
  };
}

/** `cacheTokens` only where it is more than the context. */
function choiceOf(
  weights: LoadedFormat,
  contextLength: number,
  { capacity, cacheTokens }: Pick<SessionOptions, 'capacity' | 'cacheTokens'>,
): FitChoice {
  const scaled = Math.ceil((contextLength * cacheTokens) / capacity);
  return { weights, contextLength, ...(scaled > contextLength && { cacheTokens: scaled }) };
}

/** What does not depend on the format of weights. */
interface Common extends ExecutorBytes {
  capacity: number;
  cacheTokens: number;
  /** Of each buffer of the KV cache, for contexts of so many tokens. */
  cacheBytes(tokens: number): number[];
}

interface Candidate {
  weights: LoadedFormat;
  needed: FitNeeds;
  /** Why it does not fit with the context asked for. */
  reasons: string[];
  /** That fits, at most the one asked for; undefined when none does that is worth having. */
  longestContext: number | undefined;
}

function measure(format: LoadedFormat, weights: readonly Weight[], common: Common, space: Space): Candidate {
  const { capacity, cacheTokens, cacheBytes, kvBytes, activationBytes, largestActivationBytes } = common;
  const { bindingBytes, memoryBytes = Number.POSITIVE_INFINITY } = space;
  const allWeightBytes = sum(weights.map(weightBytes));
  const needed: FitNeeds = {
    gpuBytes: allWeightBytes + kvBytes + activationBytes + STAGING_BYTES,
    weightBytes: allWeightBytes,
    kvBytes,
    activationBytes,
    stagingBytes: STAGING_BYTES,
  };
  const blockers = unsplittable(weights, bindingBytes);
  if (largestActivationBytes > bindingBytes) {
    blockers.push(
      `a step needs a buffer of ${inBytes(largestActivationBytes)}, and this device binds at most ${inBytes(bindingBytes)}; fewer prefillRows need less`,
    );
  }
  const reasons = [...blockers];
  const largest = Math.max(...cacheBytes(capacity));
  if (largest > bindingBytes) {
    reasons.push(
      `a KV cache of ${cacheTokens} tokens takes ${inBytes(largest)} a layer, and this device binds at most ${inBytes(bindingBytes)}`,
    );
  }
  if (needed.gpuBytes > memoryBytes) {
    reasons.push(
      `it needs ${inBytes(needed.gpuBytes)} of GPU memory (weights ${inBytes(allWeightBytes)}, KV cache of ${cacheTokens} tokens ${inBytes(kvBytes)}, activations ${inBytes(activationBytes)}, loading ${inBytes(STAGING_BYTES)}), and there are ${inBytes(memoryBytes)}`,
    );
  }
  const room = memoryBytes - (needed.gpuBytes - kvBytes);
  const longest = longestOf(capacity, (tokens) => {
    const bytes = cacheBytes(tokens);
    return Math.max(...bytes) <= bindingBytes && sum(bytes) <= room;
  });
  const isWorthHaving = blockers.length === 0 && longest >= Math.min(capacity, LEAST_CONTEXT);
  return { weights: format, needed, reasons, longestContext: isWorthHaving ? longest : undefined };
}

/** The most tokens for which something holds that holds for fewer, too. */
function longestOf(most: number, holds: (tokens: number) => boolean): number {
  let [low, high] = [0, most];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (holds(middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Weights that have too much in one piece for a binding. */
function unsplittable(weights: readonly Weight[], bindingBytes: number): string[] {
  try {
    for (const weight of weights) if (!weight.isVector) splitRows(weight, bindingBytes);
    return [];
  } catch (error) {
    if (error instanceof DeviceLimitError) return [error.message];
    throw error;
  }
}

/** What `loadModel` throws about a model that does not fit. */
export function fitError(
  name: string,
  { weights }: FitQuestion,
  { reasons, best }: Answer,
): DeviceLimitError {
  const what = weights === 'auto' ? 'in any format' : weights === 'published' ? weights : `in ${weights}`;
  const advice = best
    ? `Load it with ${inOptions(best)}.`
    : 'No format and context of it would; choose a smaller model, or close what else uses the GPU.';
  return new DeviceLimitError(
    `${name} does not fit this GPU ${what === 'published' ? 'as published' : what}: ${reasons.join('; ')}. ${advice}`,
  );
}

const inOptions = ({ weights, contextLength, cacheTokens }: FitChoice): string =>
  `weights: '${weights}', contextLength: ${contextLength}${cacheTokens ? `, cacheTokens: ${cacheTokens}` : ''}`;

export const everyPlan = (plans: Plans): Plan[] => Object.values<Plan>(plans);

export function everyWeight(plans: Plans): Weight[] {
  return [...new Map(everyPlan(plans).flatMap((plan) => [...plan.graph.weights])).values()];
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** Bytes for readers of messages. */
function inBytes(bytes: number): string {
  return bytes < 2 ** 30 ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : `${(bytes / 2 ** 30).toFixed(2)} GiB`;
}
