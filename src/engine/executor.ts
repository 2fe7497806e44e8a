/**
 * @file The buffers and programs of one session: step uniform, slots shared by all programs (only one runs at a time),
 * session tensors shared by name, in one set or several (states). Runs steps; it must not know models, text or sampling rules.
 */
import { allocate, bufferSize } from '../gpu/buffers.ts';
import type { GpuContext } from '../gpu/device.ts';
import type { KernelTable, Step, StepRows } from '../gpu/kernel.ts';
import { createProfiler, type ProfileRow } from '../gpu/profile.ts';
import { type Tensor, tensorBytes } from '../graph/graph.ts';
import type { Plan } from '../graph/plan.ts';
import type { GpuWeights } from '../weights/upload.ts';
import {
  type BindGroups,
  createProgram,
  type Dispatch,
  type Findings,
  type ForcedVariants,
  type Program,
} from './program.ts';

export interface ExecutorOptions {
  forced?: ForcedVariants;
  findings?: Findings;
  signal?: AbortSignal;
  /** Submit op by op, so that an error names its op. */
  eager?: boolean;
  /** Takes the time of every dispatch. */
  profile?: boolean;
  /** Session tensors of another executor to use instead of new ones, by name. */
  borrow?: (name: string) => GPUBuffer | undefined;
}

/**
 * Session tensors, and the programs bound to them. The queue runs steps in the order of their submits, so that steps of several
 * states may take turns while they share everything else.
 */
export interface State<Name extends string = string> {
  /** The buffer of a session tensor. */
  buffer(name: string): GPUBuffer;
  readonly groups: ReadonlyMap<Name, BindGroups>;
}

export interface Executor<Name extends string = string> {
  program(name: Name): Program;
  /** Of all programs. */
  dispatches(): Dispatch[];
  /** What the programs run over when nothing else is said. */
  readonly state: State<Name>;
  /** Another state, all zeros. @throws DeviceLimitError when there is no memory for it; everything works on then */
  addState(): Promise<State<Name>>;
  /** The buffer of a step tensor of a program, for reading after a step. */
  stepBuffer(name: Name, tensor: Tensor): GPUBuffer;
  /** Submits one step of a program, with what `after` encodes behind it, and gives what `after` gives. */
  submit<T>(
    name: Name,
    step: StepRows,
    options: { state?: State<Name>; after: (encoder: GPUCommandEncoder) => T },
  ): T;
  /** Submits a step, or only its first `until` dispatches. */
  submit(name: Name, step: StepRows, options?: { state?: State<Name>; until?: number }): void;
  /** Workgroups that fill the device, as every step is told. */
  readonly workgroups: number;
  readonly counts: { submits: number; dispatches: number };
  /** GPU time by op and variant, when profiling. */
  profile(): ProfileRow[];
  dispose(): void;
}

/**
 * Workgroups that fill a device, where that was not measured: one for each core of a wide GPU. A software adapter has the
 * processor's cores (Node tells them from 21 on), and what a workgroup begins with costs as much as many positions of attention.
 */
const workgroupsOn = ({ isFallback }: GpuContext['info']): number =>
  isFallback ? 2 * (globalThis.navigator?.hardwareConcurrency ?? 16) : 128;

/** The uniform that every kernel reads. */
const STEP_BYTES = 16;

export async function createExecutor<Name extends string>(
  gpu: GpuContext,
  weights: GpuWeights,
  plans: Readonly<{ [N in Name]?: Plan }>,
  table: KernelTable,
  { forced, findings, signal, eager = false, profile = false, borrow }: ExecutorOptions = {},
): Promise<Executor<Name>> {
  const { device, buffers } = gpu;
  const owned: GPUBuffer[] = [];
  const own = (buffer: GPUBuffer): GPUBuffer => {
    owned.push(buffer);
    return buffer;
  };
  const dispose = (): void => {
    owned.forEach(buffers.destroy);
  };
  const every = Object.entries<Plan>(plans as Readonly<Record<string, Plan>>) as [Name, Plan][];
  const everyPlan = every.map(([, plan]) => plan);
  try {
    const allocateSession = (): Map<string, GPUBuffer> =>
      new Map(
        [...sessionSizes(everyPlan)].map(([name, bytes]) => [
          name,
          borrow?.(name) ?? own(buffers.storage(name, bytes)),
        ]),
      );
    const { stepUniform, slotBuffers, sessionBuffers } = await allocate(
      device,
      'the KV cache and activations',
      () => ({
        stepUniform: own(buffers.uniform('step', STEP_BYTES)),
        slotBuffers: largestFirst(everyPlan).map((bytes, i) => own(buffers.storage(`slot ${i}`, bytes))),
        sessionBuffers: allocateSession(),
      }),
    );
    gpu.throwIfFaulty();
    const stepTensorOf = (plan: Plan): ((tensor: Tensor) => GPUBuffer) => {
      const order = slotOrder(plan);
      return (tensor) => slotBuffers[order.indexOf(plan.slotOf.get(tensor)!)]!;
    };
    const entries = await Promise.all(
      every.map(async ([name, plan]) => {
        const resources = { step: stepUniform, stepTensor: stepTensorOf(plan), weight: weights.buffer };
        return [
          name,
          await createProgram(gpu, plan, table, resources, { forced, findings, signal }),
        ] as const;
      }),
    );
    gpu.throwIfFaulty();
    const programs = new Map(entries);
    const createState = (tensors: ReadonlyMap<string, GPUBuffer>, like?: State<Name>): State<Name> => ({
      buffer: (name) => tensors.get(name)!,
      groups: new Map(
        entries.map(([name, program]) => [
          name,
          program.bind((tensor) => tensors.get(tensor.name)!, like?.groups.get(name)),
        ]),
      ),
    });
    const first = createState(sessionBuffers);
    const profiler = profile ? createProfiler(gpu) : undefined;
    const workgroups = findings?.workgroups ?? workgroupsOn(gpu.info);
    const words = Uint32Array.of(0, 0, workgroups, 0);
    const submitAlone = (program: Program, groups: BindGroups, step: Step, i: number): void => {
      const { label } = program.dispatches[i]!;
      const encoder = device.createCommandEncoder({ label });
      program.encode(encoder, groups, step, i, i + 1);
      device.queue.submit([encoder.finish({ label })]);
    };
    const counts = { submits: 0, dispatches: 0 };
    return {
      program: (name) => programs.get(name)!,
      dispatches: () => [...programs.values()].flatMap((program) => program.dispatches),
      workgroups,
      counts,
      profile: () => profiler?.table() ?? [],
      dispose,
      state: first,
      async addState() {
        const numOwned = owned.length;
        try {
          const tensors = await allocate(device, 'the KV cache of another conversation', allocateSession);
          gpu.throwIfFaulty();
          return createState(tensors, first);
        } catch (error) {
          owned.splice(numOwned).forEach(buffers.destroy);
          throw error;
        }
      },
      stepBuffer: (name, tensor) => stepTensorOf(programs.get(name)!.plan)(tensor),
      submit<T>(
        name: Name,
        { rows, position }: StepRows,
        {
          state = first,
          until,
          after,
        }: { state?: State<Name>; until?: number; after?: (encoder: GPUCommandEncoder) => T } = {},
      ) {
        gpu.throwIfFaulty();
        const step: Step = { rows, position, workgroups };
        words[0] = rows;
        words[1] = position;
        device.queue.writeBuffer(stepUniform, 0, words);
        const program = programs.get(name)!;
        const groups = state.groups.get(name)!;
        const end = until ?? program.dispatches.length;
        if (eager) {
          for (let i = 0; i < end; i++) submitAlone(program, groups, step, i);
        }
        const encoder = device.createCommandEncoder();
        const timed = profiler?.begin(program.dispatches.slice(0, end).map((d) => d.label));
        if (timed) {
          program.encodeTimed(encoder, groups, step, end, timed.writes);
          timed.resolve(encoder);
        } else if (!eager) {
          program.encode(encoder, groups, step, 0, end);
        }
        const given = after?.(encoder);
        device.queue.submit([encoder.finish()]);
        timed?.read().catch(() => {});
        counts.submits++;
        counts.dispatches += end;
        return given as T;
      },
    };
  } catch (error) {
    dispose();
    throw error;
  }
}

/** A plan's slots from the largest to the smallest, so that programs can share one set of buffers. */
function slotOrder(plan: Plan): number[] {
  return plan.slots.map((_, i) => i).sort((a, b) => plan.slots[b]!.bytes - plan.slots[a]!.bytes || a - b);
}

/** Bytes of each shared slot: the i-th is as large as the i-th largest of any plan. */
function largestFirst(plans: readonly Plan[]): number[] {
  const sizes: number[] = [];
  for (const plan of plans) {
    slotOrder(plan).forEach((slot, i) => {
      sizes[i] = Math.max(sizes[i] ?? 0, plan.slots[slot]!.bytes);
    });
  }
  return sizes;
}

function sessionSizes(plans: readonly Plan[]): Map<string, number> {
  const sizes = new Map<string, number>();
  for (const plan of plans) {
    for (const t of plan.sessionTensors) sizes.set(t.name, Math.max(sizes.get(t.name) ?? 0, tensorBytes(t)));
  }
  return sizes;
}

/** Bytes on the GPU of what programs take beside weights. */
export interface ExecutorBytes {
  kvBytes: number;
  /** Everything else: what steps compute, what the host writes for them, and the sampler's state. */
  activationBytes: number;
  /** Of one buffer that is no cache. */
  largestActivationBytes: number;
}

/** What the buffers of `createExecutor` with so many states take together. */
export function executorBytes(plans: readonly Plan[], numStates = 1): ExecutorBytes {
  const sum = (sizes: readonly number[]): number => sizes.reduce((a, b) => a + b, 0);
  const slots = largestFirst(plans).map(bufferSize);
  const [caches, others]: [number[], number[]] = [[], []];
  for (const [name, bytes] of sessionSizes(plans)) {
    (isCache(name) ? caches : others).push(bufferSize(bytes));
  }
  return {
    kvBytes: numStates * sum(caches),
    activationBytes: sum(slots) + numStates * sum(others) + STEP_BYTES,
    largestActivationBytes: Math.max(...slots, ...others),
  };
}

/** Whether a session tensor is a KV cache. */
const isCache = (name: string): boolean => name.startsWith('kv.');

/** The KV caches of some programs, each once. */
export function cacheTensors(plans: readonly Plan[]): Tensor[] {
  const caches = plans.flatMap((plan) => plan.sessionTensors).filter(({ name }) => isCache(name));
  return [...new Map(caches.map((t) => [t.name, t])).values()];
}
