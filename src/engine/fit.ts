/**
 * @file Whether a model fits a device, and what would: arithmetic on plans, headers and limits. It must not know a GPU or
 * touch weights.
 */
import { DeviceLimitError } from '../errors.ts';
import type { GpuContext } from '../gpu/device.ts';
import { splitRows } from '../gpu/kernel.ts';
import { tensorBytes, type Weight } from '../graph/graph.ts';
import { type Plan, weightBytes } from '../graph/plan.ts';
import type { Checkpoint } from '../weights/checkpoint.ts';
import { downloadBytes, shardBytes } from '../weights/download.ts';
import { cacheTensors } from './executor.ts';
import type { ModelSpec, Plans } from './recording.ts';
import type { SessionOptions } from './session.ts';
import { stepsBytes } from './steps.ts';
import type { Fit, FitChoice, FitNeeds, LoadedFormat, LoadOptions } from './types.ts';

/** A model with its weights in some format. */
export interface Variant {
  readonly weights: LoadedFormat;
  readonly spec: ModelSpec;
  readonly plans: Plans;
}

/** What is asked about. */
export interface FitQuestion {
  readonly checkpoint: Pick<Checkpoint, 'config' | 'tensors'>;
  readonly weights: NonNullable<LoadOptions['weights']>;
  readonly sessionOptions: Pick<SessionOptions, 'capacity' | 'speculate'>;
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
  readonly variant: Variant;
  /** Bytes on the GPU that `best` needs. */
  readonly bestBytes: number;
}

/** What loading may take on the GPU beside what stays, and frees again. */
const STAGING_BYTES = 64 << 20;
/** tokenizer.json of a vocabulary of 150,000 takes 11 MB; configs and the index little. */
const SMALL_FILES_BYTES = 16 << 20;
/** Shorter contexts hold no conversation, and are not offered in place of longer ones. */
const LEAST_CONTEXT = 256;

const SMALLER: readonly LoadedFormat[] = ['int8', 'int4'];

/** The best that fits into a space. */
export function findFit(question: FitQuestion, space: Space): Answer {
  const { capacity } = question.sessionOptions;
  const asked = question.weights === 'auto' ? 'published' : question.weights;
  const candidates: Candidate[] = [];
  for (const weights of [asked, ...SMALLER.slice(SMALLER.indexOf(asked) + 1)]) {
    const candidate = measure(question.variant(weights), question, space);
    const previous = candidates.at(-1);
    // A quantised checkpoint stays what it is.
    if (previous && candidate.needed.weightBytes >= previous.needed.weightBytes) continue;
    candidates.push(candidate);
    if (candidate.reasons.length === 0) break;
  }
  const [first, last] = [candidates[0]!, candidates.at(-1)!];
  const isFitting = last.reasons.length === 0;
  const contextLength = isFitting ? capacity : last.longestContext;
  const chosen = question.weights === 'auto' && isFitting ? last : first;
  const { gpuBytes, kvBytes } = last.needed;
  return {
    fits: chosen.reasons.length === 0,
    reasons: chosen.reasons,
    best: contextLength === undefined ? undefined : { weights: last.variant.weights, contextLength },
    bestBytes: gpuBytes - kvBytes + Math.ceil((kvBytes * (contextLength ?? 0)) / capacity),
    needed: chosen.needed,
    variant: chosen.variant,
  };
}

interface Candidate {
  variant: Variant;
  needed: FitNeeds;
  /** Why it does not fit with the context asked for. */
  reasons: string[];
  /** That fits, at most the one asked for; undefined when none does that is worth having. */
  longestContext: number | undefined;
}

function measure(variant: Variant, question: FitQuestion, space: Space): Candidate {
  const { checkpoint, sessionOptions } = question;
  const { capacity, speculate } = sessionOptions;
  const { bindingBytes, memoryBytes = Number.POSITIVE_INFINITY } = space;
  const weights = everyWeight(variant.plans);
  const steps = stepsBytes(variant.plans, speculate, space.info);
  const { kvBytes, activationBytes } = steps;
  const allWeightBytes = sum(weights.map(weightBytes));
  const needed = {
    gpuBytes: allWeightBytes + kvBytes + activationBytes + STAGING_BYTES,
    weightBytes: allWeightBytes,
    kvBytes,
    activationBytes,
    stagingBytes: STAGING_BYTES,
    downloadBytes: downloadBytes(checkpoint, weights),
    storeBytes: shardBytes(checkpoint) + SMALL_FILES_BYTES,
  };
  const blockers = unsplittable(weights, bindingBytes);
  if (steps.largestActivationBytes > bindingBytes) {
    blockers.push(
      `a step needs a buffer of ${inBytes(steps.largestActivationBytes)}, and this device binds at most ${inBytes(bindingBytes)}; fewer prefillRows need less`,
    );
  }
  const tokenBytes = cacheTensors(everyPlan(variant.plans)).map((t) => tensorBytes(t) / t.shape[0]!);
  const largest = Math.max(...tokenBytes) * capacity;
  const reasons = [...blockers];
  if (largest > bindingBytes) {
    reasons.push(
      `a KV cache of ${capacity} tokens takes ${inBytes(largest)} a layer, and this device binds at most ${inBytes(bindingBytes)}`,
    );
  }
  if (needed.gpuBytes > memoryBytes) {
    reasons.push(
      `it needs ${inBytes(needed.gpuBytes)} of GPU memory (weights ${inBytes(allWeightBytes)}, KV cache of ${capacity} tokens ${inBytes(kvBytes)}, activations ${inBytes(activationBytes)}, loading ${inBytes(STAGING_BYTES)}), and there are ${inBytes(memoryBytes)}`,
    );
  }
  // The pool rounds every cache up.
  const room = memoryBytes - (needed.gpuBytes - kvBytes) - 16 * tokenBytes.length;
  const longest = Math.floor(
    Math.min(capacity, bindingBytes / Math.max(...tokenBytes), room / sum(tokenBytes)),
  );
  const isWorthHaving = blockers.length === 0 && longest >= Math.min(capacity, LEAST_CONTEXT);
  return { variant, needed, reasons, longestContext: isWorthHaving ? longest : undefined };
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
