/**
 * @file Whether a model fits a device, and what would: arithmetic on plans, headers and limits. It must not know a GPU or
 * touch weights.
 */
import { DeviceLimitError } from '../errors.ts';
import type { GpuContext } from '../gpu/device.ts';
import { splitRows } from '../gpu/kernel.ts';
import { tensorBytes } from '../graph/graph.ts';
import { type Plan, weightBytes } from '../graph/plan.ts';
import type { Weight } from '../graph/weight.ts';
import { formatAs } from '../weights/resolve.ts';
import { cacheTensors, type ExecutorBytes } from './executor.ts';
import type { ModelSpec, Plans } from './recording.ts';
import type { SessionOptions } from './session.ts';
import { runnerBytes } from './steps.ts';
import type { Fit, FitChoice, FitNeeds, LoadedFormat, LoadOptions, WantedFormat } from './types.ts';

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
  readonly sessionOptions: Pick<SessionOptions, 'capacity' | 'speculate' | 'conversations'>;
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
  const { capacity, conversations } = sessionOptions;
  const asked = question.weights === 'auto' ? 'published' : question.weights;
  const weights = everyWeight(plans);
  const common: Common = {
    ...runnerBytes(plans, sessionOptions, space.info),
    tokenBytes: cacheTensors(everyPlan(plans)).map((t) => tensorBytes(t) / t.shape[0]!),
    capacity,
    conversations,
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
    best: contextLength === undefined ? undefined : { weights: last.weights, contextLength },
    bestBytes: gpuBytes - kvBytes + Math.ceil((kvBytes * (contextLength ?? 0)) / capacity),
    needed: chosen.needed,
    chosen: chosen.weights,
  };
}

/** What does not depend on the format of weights. */
interface Common extends ExecutorBytes {
  capacity: number;
  conversations: number;
  /** Of a token in each KV cache. */
  tokenBytes: readonly number[];
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
  const { capacity, conversations, tokenBytes, kvBytes, activationBytes, largestActivationBytes } = common;
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
  const largestToken = Math.max(...tokenBytes);
  if (largestToken * capacity > bindingBytes) {
    reasons.push(
      `a KV cache of ${capacity} tokens takes ${inBytes(largestToken * capacity)} a layer, and this device binds at most ${inBytes(bindingBytes)}`,
    );
  }
  if (needed.gpuBytes > memoryBytes) {
    reasons.push(
      `it needs ${inBytes(needed.gpuBytes)} of GPU memory (weights ${inBytes(allWeightBytes)}, KV cache of ${conversations > 1 ? `${conversations} conversations of ` : ''}${capacity} tokens ${inBytes(kvBytes)}, activations ${inBytes(activationBytes)}, loading ${inBytes(STAGING_BYTES)}), and there are ${inBytes(memoryBytes)}`,
    );
  }
  // The pool rounds every cache up.
  const room = (memoryBytes - (needed.gpuBytes - kvBytes)) / conversations - 16 * tokenBytes.length;
  const longest = Math.floor(Math.min(capacity, bindingBytes / largestToken, room / sum(tokenBytes)));
  const isWorthHaving = blockers.length === 0 && longest >= Math.min(capacity, LEAST_CONTEXT);
  return { weights: format, needed, reasons, longestContext: isWorthHaving ? longest : undefined };
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

const inOptions = ({ weights, contextLength }: FitChoice): string =>
  `weights: '${weights}', contextLength: ${contextLength}`;

export const everyPlan = (plans: Plans): Plan[] => Object.values(plans);

export function everyWeight(plans: Plans): Weight[] {
  return [...new Map(everyPlan(plans).flatMap((plan) => [...plan.graph.weights])).values()];
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** Bytes for readers of messages. */
function inBytes(bytes: number): string {
  return bytes < 2 ** 30 ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : `${(bytes / 2 ** 30).toFixed(2)} GiB`;
}
