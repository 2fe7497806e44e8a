/**
 * @file From a checkpoint to a running session, in two steps: `openModel` reads configs and headers, records and checks
 * everything without a GPU; `startModel` takes the device, streams the weights and compiles. Whatever fails, nothing stays
 * allocated. It must not know text.
 */
import { kernels } from '../../../kernels/index.ts';
import { InvalidInputError } from '../../errors.ts';
import { type DeviceOptions, type GpuContext, openDevice } from '../../gpu/device.ts';
import type { SessionRole } from '../../graph/graph.ts';
import type { KvFormat } from '../../graph/ops/cache.ts';
import { activeWeightBytes, type Plan } from '../../graph/plan.ts';
import { printPlan } from '../../graph/print.ts';
import { familyOf } from '../../models/index.ts';
import { openSource, type SourceLike } from '../../sources/open-source.ts';
import { type Checkpoint, openCheckpoint, readJson } from '../../weights/checkpoint.ts';

export type { SourceLike } from '../../sources/open-source.ts';

import type { FileExtent, ReadOptions } from '../../sources/source.ts';
import { convertedFormats } from '../../weights/converted-formats.ts';
import { checkpointResolver } from '../../weights/resolve.ts';
import { type UploadedWeights, uploadWeights } from '../../weights/upload.ts';
import type { Examined } from '../examine/examine.ts';
import { blockLimits, runnerBytes } from '../generate/runner.ts';
import {
  createSession,
  type Session,
  type SessionOptions,
  unitsAtFirst,
  unitsAtMost,
} from '../generate/session.ts';
import {
  MAX_DRAFTS,
  type ModelSpec,
  type Plans,
  type ProgramName,
  ROW_COUNTS,
  recordPlan,
  recordPlans,
  rowCountFor,
} from '../program/plans.ts';
import { compileAhead } from '../program/program.ts';
import type { LoadedFormat, LoadOptions, LoadProgress, ModelInfo, SamplingDefaults } from '../types.ts';
import { everyPlan, everyWeight, type FitQuestion, fitError, type Variant } from './fit.ts';
import { samplingDefaults, stopTokensOf } from './generation-config.ts';
import { measureFit } from './measure-fit.ts';

/** With `weights: 'auto'`, `spec` and `plans` are those of the checkpoint as published. */
export interface OpenedModel extends FitQuestion {
  readonly checkpoint: Checkpoint;
  /** Token ids that end an answer. */
  readonly stopTokens: readonly number[];
  readonly samplingDefaults: SamplingDefaults;
  readonly spec: ModelSpec;
  readonly plans: Plans;
  readonly sessionOptions: SessionOptions;
  /** Another small file of the checkpoint, undefined when there is none. */
  readJson(name: string): Promise<Record<string, unknown> | undefined>;
  readText(name: string): Promise<string | undefined>;
}

export interface StartedModel {
  readonly session: Session;
  readonly info: ModelInfo;
  readonly stopTokens: readonly number[];
  /** Logits of a row. */
  readonly vocabSize: number;
  /** Values of a row behind the last layer. */
  readonly hiddenSize: number;
  readonly lost: Promise<Error>;
  dispose(): void;
}

/** Tokens of context when the caller does not say: enough for a long chat, small beside most models. */
const DEFAULT_CONTEXT = 4096;
/** Sequences that run side by side when the caller does not say, and at most: as many as the largest pass of few rows has rows. */
const MAX_SEQUENCES = ROW_COUNTS.at(-1)!;
/** Rows of a chunk of a prompt: enough to fill a GPU, short enough that an abort is answered soon. */
const PREFILL_ROWS = 256;

const NO_PROGRESS: LoadProgress = {
  phase: 'config',
  loadedBytes: 0,
  totalBytes: 0,
  loadedTensors: 0,
  totalTensors: 0,
  secondsLeft: undefined,
};

/** The config ties the head to the embedding, and there is another one. */
async function isHeadUntied(checkpoint: Checkpoint, options: ReadOptions): Promise<boolean> {
  if (checkpoint.config.tie_word_embeddings === false || !checkpoint.tensors.has('lm_head.weight'))
    return false;
  const { hasOwnHead } = await import('../../weights/own-head.ts');
  return hasOwnHead(checkpoint, options);
}

/** Reads a checkpoint's configs and headers and plans its programs. Downloads no weights, touches no GPU. */
export async function openModel(from: SourceLike, options: LoadOptions = {}): Promise<OpenedModel> {
  const { signal, debug = {} } = options;
  signal?.throwIfAborted();
  options.onProgress?.(NO_PROGRESS);
  const { hub, store } = options;
  const opened = store ? store.source(from, { hub }) : openSource(from, { hub });
  const checkpoint = await openCheckpoint(opened, { signal, file: options.file });
  const family = familyOf(checkpoint.config);
  const isUntied = await isHeadUntied(checkpoint, { signal });
  const config = family.config({ ...checkpoint.config, ...(isUntied && { tie_word_embeddings: false }) });
  const stopTokens = stopTokensOf(checkpoint.config, checkpoint.generationConfig);
  const sampling = samplingDefaults(checkpoint.generationConfig);
  const weights = formatOption(options.weights);
  naturalOption('memoryBytes', options.memoryBytes);
  const capacity = contextLength(options.contextLength, config.maxPositionEmbeddings);
  const prefillRows = Math.min(naturalOption('prefillRows', options.prefillRows) ?? PREFILL_ROWS, capacity);
  const maxSequences = Math.min(
    MAX_SEQUENCES,
    naturalOption('maxSequences', options.maxSequences) ?? MAX_SEQUENCES,
  );
  const sessionOptions: SessionOptions = {
    capacity,
    prefillRows,
    maxSequences,
    cacheTokens: Math.max(capacity, naturalOption('cacheTokens', options.cacheTokens) ?? capacity),
    speculate: speculationOption(options.speculate),
    kvFormat: kvFormatOption(options),
    fuse: debug.fuse,
    reuse: debug.reuse,
    eager: debug.eager,
    profile: debug.profile,
    forced: debug.kernel,
    signal,
  };
  const record = (weights: LoadedFormat): Variant => {
    const resolve = checkpointResolver(checkpoint, weights === 'published' ? undefined : weights);
    const spec = { family, config, resolve };
    return { weights, spec, plans: recordPlans(spec, sessionOptions) };
  };
  const first = record(weights === 'auto' ? 'published' : weights);
  const { source } = checkpoint;
  return {
    checkpoint,
    stopTokens,
    samplingDefaults: sampling,
    weights,
    spec: first.spec,
    plans: first.plans,
    laterPlans: laterPlans(first.spec, sessionOptions),
    variant: (weights) => (weights === first.weights ? first : record(weights)),
    sessionOptions,
    async readJson(name) {
      return checkpoint.made ? checkpoint.made[name] : readJson(source, name, { signal });
    },
    async readText(name) {
      if (checkpoint.made) return undefined;
      const bytes = await source.readFile(name, { signal });
      return bytes && new TextDecoder().decode(bytes);
    },
  };
}

/** The largest of the programs that are made when several sequences first run. */
function laterPlans(spec: ModelSpec, options: SessionOptions): Plan[] {
  const { maxSequences, speculate } = options;
  if (maxSequences === 1) return [];
  const count = rowCountFor(
    Math.min(MAX_SEQUENCES, maxSequences * (speculate ? 1 + MAX_DRAFTS[speculate] : 1)),
  );
  const names: ProgramName[] = speculate === 'mtp' ? [`rows${count}`, `draft${count}`] : [`rows${count}`];
  return names.map((name) => recordPlan(spec, options, name));
}

export function deviceOptions({ gpu, precision, debug = {} }: LoadOptions): DeviceOptions {
  return { gpu, subgroups: debug.subgroups, f16: precision === 'f32' ? false : debug.f16 };
}

/**
 * Takes a device, uploads the weights and compiles the programs.
 * @throws DeviceLimitError before weights are downloaded, when they do not fit
 */
export async function startModel(opened: OpenedModel, options: LoadOptions = {}): Promise<StartedModel> {
  const { checkpoint, sessionOptions } = opened;
  const { memoryBytes, signal, onProgress, debug = {} } = options;
  const gpu = await openDevice(deviceOptions(options));
  try {
    let latest = NO_PROGRESS;
    const report = (phase: LoadProgress['phase'], progress: Omit<LoadProgress, 'phase'> = latest): void => {
      latest = { ...progress, phase };
      onProgress?.(latest);
    };
    const { answer, fit } = await measureFit(gpu, opened, {
      memoryBytes,
      onProbe: () => report('fit'),
      probesBest: false,
      signal,
    });
    options.onFit?.(fit);
    if (!fit.fits) throw fitError(opened.spec.family.architectures[0]!, opened, answer);
    const variant = opened.variant(answer.chosen);
    const { spec, plans } = variant;
    // Kernels compile while weights come in.
    const compiled = compileAhead(gpu, everyPlan(plans), kernels, debug.kernel);
    await checkpoint.source.prepare?.(fileExtents(checkpoint), {
      signal,
      onProgress: (progress) => report('download', progress),
    });
    const weights = await uploadWeights(gpu, checkpoint, everyWeight(plans), {
      signal,
      onProgress: (progress) => report('weights', progress),
    });
    report('compile');
    await compiled;
    const examined = await examineKernels(gpu, weights, plans, options, () => report('tune'));
    const { findings } = examined;
    const session = await createSession(gpu, weights, spec, plans, {
      ...sessionOptions,
      findings,
      ...(debug.selfTest !== false && {
        differences: async (alone: Plan, company: Plan) => {
          const { differencesOf } = await import('../examine/company.ts');
          return differencesOf(gpu, weights, kernels, [alone, company], { forced: debug.kernel, findings });
        },
      }),
    });
    report('ready');
    if (debug.print?.includes('plan')) console.info(printPlan(plans.rows1));
    if (debug.print?.includes('wgsl')) console.info(session.kernelCode().join('\n'));
    return {
      session,
      vocabSize: spec.config.vocabSize,
      hiddenSize: spec.config.hiddenSize,
      stopTokens: opened.stopTokens,
      info: describe(gpu, opened, variant, weights, examined, session),
      lost: gpu.lost,
      dispose() {
        session.dispose();
        gpu.dispose();
      },
    };
  } catch (error) {
    gpu.dispose();
    throw error;
  }
}

/** Whether kernels are right and which are fast is found out by code that only loads when it is wanted. */
async function examineKernels(
  gpu: GpuContext,
  weights: UploadedWeights,
  plans: Plans,
  { debug = {}, signal }: LoadOptions,
  onTune: () => void,
): Promise<Partial<Examined>> {
  const tests = debug.selfTest !== false;
  // On a software adapter nothing is won, and time is dear.
  const tunes = debug.tune ?? !gpu.info.isFallback;
  if (!tests && !tunes) return {};
  const { examine } = await import('../examine/examine.ts');
  return examine(gpu, weights, plans, { tests, tunes, forced: debug.kernel, signal, onTune });
}

/** Every file with tensors, whether they are needed now or with other options. */
function fileExtents({ tensors }: Checkpoint): FileExtent[] {
  const ends = new Map<string, number>();
  for (const { file, end } of tensors.values()) ends.set(file, Math.max(end, ends.get(file) ?? 0));
  return [...ends].map(([name, bytes]) => ({ name, bytes }));
}

function describe(
  gpu: GpuContext,
  { samplingDefaults, sessionOptions }: OpenedModel,
  { weights: format, spec, plans }: Variant,
  weights: UploadedWeights,
  { findings, variants }: Partial<Examined>,
  session: Session,
): ModelInfo {
  const limits = blockLimits(spec.config.windows, sessionOptions);
  const bytesWith = (unitsOf: (role: SessionRole) => number) =>
    runnerBytes(everyPlan(plans), sessionOptions, unitsOf, gpu.info);
  const { kvBytes } = bytesWith(unitsAtMost(limits, sessionOptions.maxSequences));
  const { activationBytes } = bytesWith(unitsAtFirst(limits));
  return {
    architecture: spec.family.architectures[0]!,
    contextLength: sessionOptions.capacity,
    weights: format,
    weightBytes: weights.bytes,
    load: weights.report,
    conversionErrors: weights.conversionErrors,
    activeWeightBytesPerToken: activeWeightBytes(plans.rows1),
    kvBytes,
    activationBytes,
    dispatchesPerToken: plans.rows1.graph.ops.length,
    samplingDefaults,
    adapter: gpu.info,
    variants: variants ?? {},
    wrongKernels: [...(findings?.wrong ?? [])],
    get batchInvariant() {
      return session.isBatchInvariant;
    },
    features: (['subgroups', 'f16'] as const).filter((f) => gpu.traits[f]),
  };
}

function contextLength(wanted: number | undefined, max: number): number {
  const length = naturalOption('contextLength', wanted) ?? Math.min(max, DEFAULT_CONTEXT);
  if (length > max) {
    throw new InvalidInputError(
      `contextLength is ${length}, the model was made for at most ${max} (max_position_embeddings). Ask for less.`,
    );
  }
  return length;
}

function formatOption(wanted: LoadOptions['weights'] = 'published'): FitQuestion['weights'] {
  const known = ['auto', 'published', ...Object.keys(convertedFormats)];
  if (!known.includes(wanted)) {
    throw new InvalidInputError(`weights is ${JSON.stringify(wanted)}, wanted one of ${known.join(', ')}`);
  }
  return wanted;
}

function speculationOption(wanted: LoadOptions['speculate']): LoadOptions['speculate'] {
  if (wanted !== undefined && !Object.hasOwn(MAX_DRAFTS, wanted)) {
    throw new InvalidInputError(
      `speculate is ${JSON.stringify(wanted)}, wanted ${Object.keys(MAX_DRAFTS).join(' or ')}`,
    );
  }
  return wanted;
}

function kvFormatOption({ kvFormat, precision }: LoadOptions): KvFormat {
  if (kvFormat !== undefined && !['f32', 'f16', 'int8'].includes(kvFormat)) {
    throw new InvalidInputError(`kvFormat is ${JSON.stringify(kvFormat)}, wanted f32, f16 or int8`);
  }
  return kvFormat ?? (precision === 'f32' ? 'f32' : 'f16');
}

function naturalOption(name: string, value: number | undefined): number | undefined {
  if (value !== undefined && !(Number.isSafeInteger(value) && value > 0)) {
    throw new InvalidInputError(`${name} is ${value}, wanted a positive integer`);
  }
  return value;
}
