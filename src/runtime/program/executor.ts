/**
 * @file The buffers of a model's programs, and the programs bound to them: a uniform, slots for what lives inside a pass (shared by
 * all programs, since only one runs at a time), session tensors by name, some of which grow. Runs passes; it must not know models,
 * sequences, text or sampling rules.
 */
import { allocate, allocateStorage, bufferSize } from '../../gpu/buffers.ts';
import type { GpuContext } from '../../gpu/device.ts';
import type { BatchCounts, KernelTable } from '../../gpu/kernel.ts';
import { createProfiler, type ProfileRow } from '../../gpu/profile.ts';
import { baseOf, type SessionRole, type Tensor, tensorBytes } from '../../graph/graph.ts';
import type { Plan } from '../../graph/plan.ts';
import type { GpuWeights } from '../../weights/upload.ts';
import { createProgram, type Dispatch, type Findings, type ForcedVariants, type Program } from './program.ts';

/** What programs need of the weights. */
export type PassWeights = Pick<GpuWeights, 'buffer'>;

export interface ExecutorOptions {
  forced?: ForcedVariants | undefined;
  findings?: Findings | undefined;
  signal?: AbortSignal | undefined;
  /** Submit op by op, so that an error names its op. */
  eager?: boolean | undefined;
  /** Takes the time of every dispatch. */
  profile?: boolean | undefined;
  /** Session tensors of another executor to use instead of new ones, by name: asked whenever they are bound. */
  borrow?: ((name: string) => GPUBuffer | undefined) | undefined;
  /** How many of a session tensor there are at first: blocks of a pool, slots. Default: one. */
  unitsOf?: ((role: SessionRole) => number) | undefined;
}

/**
 * Workgroups that fill a device, where that was not measured: one for each core of a wide GPU. A software adapter has the
 * processor's cores (Node tells them from 21 on), and what a workgroup begins with costs as much as many positions of attention.
 */
const workgroupsOn = ({ isFallback }: GpuContext['info']): number =>
  isFallback ? 2 * (globalThis.navigator?.hardwareConcurrency ?? 16) : 128;

/** The uniform that every kernel reads: rows, sequences, workgroups, zero. */
const COUNTS_BYTES = 16;

/** A session tensor's buffer, shared by name between programs. */
interface SessionBuffer {
  readonly name: string;
  readonly role: SessionRole;
  /** Of one unit. */
  unitBytes: number;
  units: number;
  buffer: GPUBuffer;
  readonly isBorrowed: boolean;
}

export class Executor<Name extends string = string> {
  readonly counts = { submits: 0, dispatches: 0 };
  /** Workgroups that fill the device, as every pass is told. */
  readonly workgroups: number;
  readonly #gpu: GpuContext;
  readonly #weights: PassWeights;
  readonly #table: KernelTable;
  readonly #options: ExecutorOptions;
  readonly #programs = new Map<Name, Program>();
  readonly #sessions = new Map<string, SessionBuffer>();
  readonly #slots: GPUBuffer[] = [];
  readonly #profiler: ReturnType<typeof createProfiler> | undefined;
  readonly #words: Uint32Array<ArrayBuffer>;
  #adding: Promise<void> = Promise.resolve();
  #uniform: GPUBuffer | undefined;

  private constructor(gpu: GpuContext, weights: PassWeights, table: KernelTable, options: ExecutorOptions) {
    this.#gpu = gpu;
    this.#weights = weights;
    this.#table = table;
    this.#options = options;
    this.workgroups = options.findings?.workgroups ?? workgroupsOn(gpu.info);
    this.#words = new Uint32Array(COUNTS_BYTES / 4);
    this.#profiler = options.profile ? createProfiler(gpu) : undefined;
  }

  /** Makes the buffers and programs of some plans. Whatever fails, nothing stays allocated. */
  static async create<Name extends string>(
    gpu: GpuContext,
    weights: PassWeights,
    plans: Readonly<{ [N in Name]?: Plan }>,
    table: KernelTable,
    options: ExecutorOptions = {},
  ): Promise<Executor<Name>> {
    const executor = new Executor<Name>(gpu, weights, table, options);
    try {
      await executor.add(plans, options.signal);
      return executor;
    } catch (error) {
      executor.dispose();
      throw error;
    }
  }

  /** Makes more programs; buffers that they need larger grow. @throws DeviceLimitError when there is no memory */
  add(plans: Readonly<{ [N in Name]?: Plan }>, signal?: AbortSignal): Promise<void> {
    // One after another: each looks at the sizes that the one before has left.
    const added = this.#adding.then(() => this.#add(plans, signal));
    this.#adding = added.catch(() => {});
    return added;
  }

  async #add(plans: Readonly<{ [N in Name]?: Plan }>, signal: AbortSignal | undefined): Promise<void> {
    const every = Object.entries<Plan | undefined>(
      plans as Readonly<Record<string, Plan | undefined>>,
    ).filter((entry): entry is [Name, Plan] => entry[1] !== undefined);
    const made = await Promise.all(
      every.map(async ([name, plan]) => {
        const order = slotOrder(plan);
        const resources = {
          counts: () => this.#uniform!,
          stepTensor: (tensor: Tensor) => this.#slots[order.indexOf(plan.slotOf.get(tensor)!)]!,
          sessionTensor: (tensor: Tensor) =>
            this.#options.borrow?.(tensor.name) ?? this.#sessions.get(tensor.name)!.buffer,
          weight: this.#weights.buffer,
        };
        const { forced, findings } = this.#options;
        const program = await createProgram(this.#gpu, plan, this.#table, resources, {
          ...(forced && { forced }),
          ...(findings && { findings }),
          ...(signal && { signal }),
        });
        return [name, program] as const;
      }),
    );
    const room = await this.#makeRoom(every.map(([, plan]) => plan));
    this.#gpu.throwIfFaulty();
    // Passes may run while all this is waited for, so the exchange is made at once.
    const old = room();
    for (const [name, program] of made) this.#programs.set(name, program);
    for (const program of this.#programs.values()) {
      if (old.length > 0 || made.some(([, p]) => p === program)) program.bind();
    }
    old.forEach(this.#gpu.buffers.destroy);
  }

  /** Makes what buffers plans need; what is given puts them in their places and gives those that stood there. */
  async #makeRoom(plans: readonly Plan[]): Promise<() => GPUBuffer[]> {
    const { buffers, device } = this.#gpu;
    const slots: { index: number; buffer: GPUBuffer }[] = [];
    const sessions: SessionBuffer[] = [];
    let uniform: GPUBuffer | undefined;
    const make = (): void => {
      if (!this.#uniform) uniform = buffers.uniform('batch counts', COUNTS_BYTES);
      for (const [index, bytes] of largestFirst(plans).entries()) {
        const known = this.#slots[index];
        if (known && known.size >= bufferSize(bytes)) continue;
        slots.push({ index, buffer: buffers.storage(`slot ${index}`, bytes) });
      }
      for (const { name, bytes, role } of sessionSizes(plans)) {
        const known = this.#sessions.get(name);
        if (known && (known.unitBytes >= bytes || known.isBorrowed)) continue;
        const borrowed = this.#options.borrow?.(name);
        const units = known?.units ?? this.#options.unitsOf?.(role) ?? 1;
        const buffer = borrowed ?? buffers.storage(name, units * bytes);
        sessions.push({ name, role, unitBytes: bytes, units, buffer, isBorrowed: borrowed !== undefined });
      }
    };
    try {
      await allocate(device, 'the KV cache and activations', make);
    } catch (error) {
      if (uniform) buffers.destroy(uniform);
      for (const { buffer } of slots) buffers.destroy(buffer);
      for (const { buffer, isBorrowed } of sessions) if (!isBorrowed) buffers.destroy(buffer);
      throw error;
    }
    return () => {
      this.#uniform ??= uniform;
      const old: (GPUBuffer | undefined)[] = [];
      for (const { index, buffer } of slots) {
        old.push(this.#slots[index]);
        this.#slots[index] = buffer;
      }
      for (const session of sessions) {
        // Inputs, and what one program leaves for the next of the same batch: nothing of it is needed later.
        old.push(this.#sessions.get(session.name)?.buffer);
        this.#sessions.set(session.name, session);
      }
      return old.filter((buffer) => buffer !== undefined);
    };
  }

  has(name: Name): boolean {
    return this.#programs.has(name);
  }

  program(name: Name): Program {
    return this.#programs.get(name)!;
  }

  /** Of all programs. */
  dispatches(): Dispatch[] {
    return [...this.#programs.values()].flatMap((program) => program.dispatches);
  }

  /** The buffer of a session tensor. */
  buffer(name: string): GPUBuffer {
    return this.#sessions.get(name)!.buffer;
  }

  /** The buffer of a step tensor of a program, for reading after a pass. */
  stepBuffer(name: Name, tensor: Tensor): GPUBuffer {
    const { plan } = this.program(name);
    return this.#slots[slotOrder(plan).indexOf(plan.slotOf.get(baseOf(tensor))!)]!;
  }

  /** Session tensors for which `which` holds, in their order. */
  sessionTensors(
    which: (role: SessionRole) => boolean,
  ): { name: string; role: SessionRole; unitBytes: number }[] {
    return [...this.#sessions.values()].filter(({ role }) => which(role));
  }

  /**
   * Gives session tensors more units, with what they hold: tensor by tensor, each old buffer gone before the next new one is made.
   * @throws DeviceLimitError when there is no memory; then nothing has less than before, and everything works on
   */
  async grow(which: (role: SessionRole) => boolean, units: number): Promise<void> {
    const { device, buffers } = this.#gpu;
    for (const session of this.#sessions.values()) {
      if (!which(session.role) || session.units >= units) continue;
      const bytes = units * session.unitBytes;
      const made = await allocateStorage(buffers, session.name, bytes, `more of ${session.name}`);
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(session.buffer, 0, made, 0, session.buffer.size);
      device.queue.submit([encoder.finish()]);
      const old = session.buffer;
      session.buffer = made;
      session.units = units;
      for (const program of this.#programs.values()) program.bind((t) => t.name === session.name);
      await device.queue.onSubmittedWorkDone();
      buffers.destroy(old);
    }
    this.#gpu.throwIfFaulty();
  }

  /** Submits a pass, or only its first `until` dispatches, with what `after` encodes; gives what `after` gives. */
  submit<T = void>(
    name: Name,
    batch: BatchCounts,
    { until, after }: { until?: number | undefined; after?: (encoder: GPUCommandEncoder) => T } = {},
  ): T {
    const { device } = this.#gpu;
    this.#gpu.throwIfFaulty();
    this.#writeCounts(batch);
    const program = this.program(name);
    const end = until ?? program.dispatches.length;
    if (this.#options.eager) this.#submitOneByOne(program, batch, end);
    const encoder = device.createCommandEncoder();
    const timed = this.#profiler?.begin(program.dispatches.slice(0, end).map((d) => d.label));
    if (timed) {
      program.encodeTimed(encoder, batch, end, timed.writes);
      timed.resolve(encoder);
    } else if (!this.#options.eager) {
      program.encode(encoder, batch, 0, end);
    }
    const given = after?.(encoder);
    device.queue.submit([encoder.finish()]);
    timed?.read().catch(() => {});
    this.counts.submits++;
    this.counts.dispatches += end;
    return given as T;
  }

  #writeCounts({ rows, sequences }: BatchCounts): void {
    const words = this.#words;
    // Most passes are like the one before.
    if (words[0] === rows && words[1] === sequences) return;
    words.set([rows, sequences, this.workgroups, 0]);
    this.#gpu.device.queue.writeBuffer(this.#uniform!, 0, words);
  }

  #submitOneByOne(program: Program, batch: BatchCounts, end: number): void {
    const { device } = this.#gpu;
    for (let i = 0; i < end; i++) {
      const { label } = program.dispatches[i]!;
      const encoder = device.createCommandEncoder({ label });
      program.encode(encoder, batch, i, i + 1);
      device.queue.submit([encoder.finish({ label })]);
    }
  }

  /** GPU time by op and variant, when profiling. */
  profile(): ProfileRow[] {
    return this.#profiler?.table() ?? [];
  }

  dispose(): void {
    const { buffers } = this.#gpu;
    if (this.#uniform) buffers.destroy(this.#uniform);
    this.#slots.forEach(buffers.destroy);
    for (const { buffer, isBorrowed } of this.#sessions.values()) if (!isBorrowed) buffers.destroy(buffer);
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

interface SessionSize {
  readonly name: string;
  readonly role: SessionRole;
  /** Of one unit. */
  bytes: number;
}

function sessionSizes(plans: readonly Plan[]): SessionSize[] {
  const sizes = new Map<string, SessionSize>();
  for (const tensor of plans.flatMap((plan) => plan.sessionTensors)) {
    const known = sizes.get(tensor.name);
    const bytes = tensorBytes(tensor);
    if (known) known.bytes = Math.max(known.bytes, bytes);
    else sizes.set(tensor.name, { name: tensor.name, role: tensor.role!, bytes });
  }
  return [...sizes.values()];
}

/** Bytes on the GPU of what programs take beside weights. */
export interface ExecutorBytes {
  kvBytes: number;
  /** Everything else: what passes compute, what the host writes for them, and the sampler's state. */
  activationBytes: number;
  /** Of one buffer that is no cache. */
  largestActivationBytes: number;
}

/** What the buffers of an executor of these plans take together, with so many units of each session tensor. */
export function executorBytes(plans: readonly Plan[], unitsOf: (role: SessionRole) => number): ExecutorBytes {
  const sum = (sizes: readonly number[]): number => sizes.reduce((a, b) => a + b, 0);
  const slots = largestFirst(plans).map(bufferSize);
  const [caches, others]: [number[], number[]] = [[], []];
  for (const { role, bytes } of sessionSizes(plans)) {
    (role.kind === 'kv' ? caches : others).push(bufferSize(unitsOf(role) * bytes));
  }
  return {
    kvBytes: sum(caches),
    activationBytes: sum(slots) + sum(others) + COUNTS_BYTES,
    largestActivationBytes: Math.max(...slots, ...others),
  };
}

/** The session tensors of some plans that hold keys and values, each once. */
export function kvTensors(plans: readonly Plan[]): Tensor[] {
  const caches = plans.flatMap((plan) => plan.sessionTensors).filter(({ role }) => role?.kind === 'kv');
  return [...new Map(caches.map((t) => [t.name, t])).values()];
}
