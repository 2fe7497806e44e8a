/**
 * @file A program: a plan resolved to kernels, as a list of {pipeline, grid(batch)} with a bind group each, that is replayed in
 * one compute pass. Everything is made once; a pass creates nothing but its encoder. When a buffer grows, what binds it is bound again. Knows ops and kernels, no model.
 */
import { InvalidInputError, ShaderloomError } from '../../errors.ts';
import type { GpuContext } from '../../gpu/device.ts';
import {
  type BatchCounts,
  type Binding,
  type DeviceTraits,
  type Grid,
  type KernelSource,
  type KernelTable,
  type KernelVariant,
  matrixOf,
  splitRows,
  type WeightPart,
} from '../../gpu/kernel.ts';
import { baseOf, type Op, type Tensor, tensorBytes } from '../../graph/graph.ts';
import type { Plan } from '../../graph/plan.ts';
import type { Weight } from '../../graph/weight.ts';

/** Where the program's buffers are. */
export interface Resources {
  /** The uniform that every kernel reads. */
  readonly counts: () => GPUBuffer;
  stepTensor(base: Tensor): GPUBuffer;
  sessionTensor(base: Tensor): GPUBuffer;
  weight(weight: Weight, section: string, part: WeightPart): GPUBuffer;
}

export interface Dispatch {
  readonly op: Op;
  readonly label: string;
  readonly pipeline: GPUComputePipeline;
  /** Workgroups of a batch, or the step tensor in which the GPU has written them. */
  readonly grid: ((batch: BatchCounts) => Grid) | Tensor;
  readonly code: string;
}

export interface Program {
  readonly plan: Plan;
  readonly dispatches: readonly Dispatch[];
  /** Makes the bind groups anew, of dispatches for which `touches` holds of a tensor that they bind. */
  bind(touches?: (base: Tensor) => boolean): void;
  /** Replays dispatches [begin, end) in one compute pass. */
  encode(encoder: GPUCommandEncoder, batch: BatchCounts, begin: number, end: number): void;
  /** The same with a pass for every dispatch, which is what timestamps can be taken of. */
  encodeTimed(
    encoder: GPUCommandEncoder,
    batch: BatchCounts,
    end: number,
    writes: (index: number) => GPUComputePassTimestampWrites,
  ): void;
}

/** Op kind -> name of the variant to use wherever its `when` holds. */
export type ForcedVariants = Readonly<Record<string, string>>;

/** What has been found out about the kernels on this device. */
export interface Findings {
  /** Labels of variants that must not be used. */
  readonly wrong: ReadonlySet<string>;
  /** The name of the fastest variant for an op, where that was measured. */
  fastest?(op: Op): string | undefined;
  /** Workgroups that fill the device, where that was measured. */
  readonly workgroups?: number | undefined;
}

/** What a variant is called, of all ops: `linear:matvec`. */
export const variantLabel = ({ kind }: Pick<Op, 'kind'>, { name }: Pick<KernelVariant, 'name'>): string =>
  `${kind}:${name}`;

/** The variant that computes an op on a device: the forced one, the fastest, or the first, of those whose `when` holds. */
export function chooseVariant(
  table: KernelTable,
  op: Op,
  device: DeviceTraits,
  forced: ForcedVariants = {},
  findings?: Findings,
): KernelVariant {
  const all = (table[op.kind] ?? []) as readonly KernelVariant[];
  const variants = all.filter((v) => v.when(op, device) && !findings?.wrong.has(variantLabel(op, v)));
  const name = forced[op.kind];
  const named = (name: string | undefined): KernelVariant | undefined =>
    variants.find((v) => v.name === name);
  const chosen = named(name) ?? named(findings?.fastest?.(op)) ?? variants[0];
  if (!chosen)
    throw new ShaderloomError(
      `${op.scope}: no kernel computes ${op.kind} on this device; please report this with the model's name`,
    );
  if (name && !all.some((v) => v.name === name)) {
    throw new InvalidInputError(
      `kernel=${op.kind}:${name} names no variant; there are ${all.map((v) => v.name).join(', ')}`,
    );
  }
  return chosen;
}

/** One kernel source per part of the op's matrix (one for most ops). */
export function buildSources(
  variant: KernelVariant,
  op: Op,
  device: DeviceTraits,
): { source: KernelSource; part: WeightPart }[] {
  const matrix = matrixOf(op);
  const parts = matrix ? splitRows(matrix, device.maxBindingBytes) : [{ index: 0, begin: 0, rows: 1 }];
  return parts.map((part) => ({ source: variant.build(op, { device, part }), part }));
}

/**
 * Compiles what the programs of some plans will ask for. Needs no buffers, so it may run while weights stream in. Never rejects: who
 * uses a kernel that does not compile is told then.
 */
export async function compileAhead(
  gpu: GpuContext,
  plans: readonly Plan[],
  table: KernelTable,
  forced: ForcedVariants | undefined,
): Promise<void> {
  await Promise.allSettled(
    plans.flatMap((plan) =>
      plan.graph.ops.map(async (op) => {
        const variant = chooseVariant(table, op, gpu.traits, forced);
        const sources = buildSources(variant, op, gpu.traits);
        await Promise.all(sources.map(({ source }) => gpu.pipeline(source, variantLabel(op, variant))));
      }),
    ),
  );
}

/** Dispatches of a program before its logits. */
export function bodyEnd({ dispatches }: Program): number {
  const end = dispatches.findIndex(({ op }) => {
    if (op.kind === 'lastRow' || op.kind === 'sampleScale') return true;
    // Where embeddings are tied, the head is the embedding.
    return op.kind === 'linear' && ['head', 'embedding'].includes(op.weights.weight.role ?? '');
  });
  return end < 0 ? dispatches.length : end;
}

/** A dispatch, and what it binds. */
interface BoundDispatch {
  readonly dispatch: Dispatch;
  readonly tensors: readonly Tensor[];
  bind(): GPUBindGroup;
}

export async function createProgram(
  gpu: GpuContext,
  plan: Plan,
  table: KernelTable,
  resources: Resources,
  { forced, findings, signal }: { forced?: ForcedVariants; findings?: Findings; signal?: AbortSignal } = {},
): Promise<Program> {
  const pending = plan.graph.ops.flatMap((op) => {
    const variant = chooseVariant(table, op, gpu.traits, forced, findings);
    return buildSources(variant, op, gpu.traits).map(async ({ source, part }): Promise<BoundDispatch> => {
      signal?.throwIfAborted();
      const label = variantLabel(op, variant);
      const { pipeline, layout, code } = await gpu.pipeline(source, label);
      const bindings = Object.values(source.bindings);
      const tensors = bindings.flatMap((b) => ('tensor' in b ? [baseOf(b.tensor)] : []));
      const bind = (): GPUBindGroup =>
        gpu.device.createBindGroup({
          label: `${op.scope} ${label}`,
          layout,
          entries: [
            { binding: 0, resource: { buffer: resources.counts() } },
            ...bindings.map((binding, i) => ({
              binding: i + 1,
              resource: bufferRange(binding, part, resources),
            })),
          ],
        });
      return { dispatch: { op, label, pipeline, grid: source.grid, code }, tensors, bind };
    });
  });
  const bound = await Promise.all(pending);
  signal?.throwIfAborted();
  const dispatches = bound.map(({ dispatch }) => dispatch);
  let groups: GPUBindGroup[] = [];
  const run = (pass: GPUComputePassEncoder, i: number, batch: BatchCounts): void => {
    const { pipeline, grid } = dispatches[i]!;
    if (typeof grid === 'function') {
      const [x, y, z] = grid(batch);
      // A kernel may have nothing to do.
      if (x * y * z === 0) return;
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, groups[i]!);
      pass.dispatchWorkgroups(x, y, z);
    } else {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, groups[i]!);
      pass.dispatchWorkgroupsIndirect(resources.stepTensor(baseOf(grid)), 0);
    }
  };
  return {
    plan,
    dispatches,
    bind(touches) {
      groups = bound.map(({ bind, tensors }, i) =>
        groups[i] && touches && !tensors.some(touches) ? groups[i] : bind(),
      );
    },
    encode(encoder, batch, begin, end) {
      const pass = encoder.beginComputePass();
      for (let i = begin; i < end; i++) run(pass, i, batch);
      pass.end();
    },
    encodeTimed(encoder, batch, end, writes) {
      for (let i = 0; i < end; i++) {
        const pass = encoder.beginComputePass({ timestampWrites: writes(i) });
        run(pass, i, batch);
        pass.end();
      }
    },
  };
}

function bufferRange(binding: Binding, part: WeightPart, resources: Resources): GPUBufferBinding {
  if ('weight' in binding) {
    return { buffer: resources.weight(binding.weight, binding.section, part) };
  }
  const base = baseOf(binding.tensor);
  // Of a session tensor there may be more than one: blocks of a pool, slots of sequences.
  if (base.lifetime === 'session') return { buffer: resources.sessionTensor(base) };
  return { buffer: resources.stepTensor(base), size: Math.max(16, Math.ceil(tensorBytes(base) / 16) * 16) };
}
