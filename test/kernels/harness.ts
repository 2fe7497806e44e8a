/**
 * @file Runs every variant of an op, in every feature tier of the adapter, on one problem. Everything that the problem
 * does not give is NaN poison: padding columns, unread cache positions and blocks, words of the batch's table, outputs.
 */

import { readBuffer } from '../../src/gpu/buffers.ts';
import { type GpuContext, openDevice } from '../../src/gpu/device.ts';
import type { DeviceTraits, KernelVariant, WeightPart } from '../../src/gpu/kernel.ts';
import type { BatchLayout } from '../../src/graph/batch.ts';
import { baseOf, createGraph, type Graph, type Op, type OpKind, type Tensor } from '../../src/graph/graph.ts';
import type { Weight, WeightFormat } from '../../src/graph/weight.ts';
import { buildSources } from '../../src/runtime/program/program.ts';

import { seededRandom } from '../seeded-random.ts';
import { type Batch, countsOf, drawPool, layoutOf, type Pool, tableOf } from './batch.ts';
import {
  type Data,
  expectOthersUntouched,
  isCache,
  poisoned,
  readCache,
  readRows,
  writeCache,
  writeRows,
} from './images.ts';

export { seededRandom } from '../seeded-random.ts';
export { POISON } from './batch.ts';
export { f16Bits, f16Value } from './f16.ts';

export interface Problem {
  /** How weights are stored; vectors should be f32. */
  resolve?: (names: readonly string[]) => WeightFormat;
  /** Records the op under test (with its views); the last op of the graph is the one that runs. */
  record(graph: Graph): void;
  /**
   * Dense rows [shape[0], rowSize] by input or output role (an output role gives its state before the pass); of the sampler's tensors a
   * row for each slot. Roles without data are poison.
   */
  data: Readonly<Record<string, Data>>;
  /** Of a cache, by role: for each sequence its positions from 0 on, of which the blocks' are kept. */
  caches?: Readonly<Record<string, readonly Float32Array[]>>;
  /** By weight role: the packed sections of a matrix, or the values of a vector. */
  weights?: Readonly<Record<string, Readonly<Record<string, Uint8Array>> | Float32Array>>;
  batch: Batch;
  /** Of the table; by default it has room for somewhat more than the batch. */
  layout?: Partial<BatchLayout>;
  /** A smaller binding limit than the device's, to see weights split into parts. */
  maxBindingBytes?: number;
  /** Run only variants with these names. */
  only?: readonly string[];
}

export interface Outcome {
  /** `variant (tier)`, for messages. */
  label: string;
  /** Dense rows by output role: f32 and f16 as numbers, u32 as words. Poison is NaN (0x7fc00bad as a word). */
  outputs: Record<string, Data>;
  /** Of outputs that are caches, by role: for each sequence its positions, up to the end of its last block. */
  caches: Record<string, Float32Array[]>;
}

let context: Promise<GpuContext> | undefined;
/** One device per test file, with its pipeline cache. */
export const testDevice = (): Promise<GpuContext> => (context ??= openDevice());

/** What every device has, and nothing more. */
export const leastDevice: DeviceTraits = {
  f16: false,
  subgroups: false,
  subgroupMinSize: 4,
  subgroupMaxSize: 128,
  maxBindingBytes: 2 ** 27,
  maxWorkgroupBytes: 16384,
  maxWorkgroupInvocations: 256,
  maxGridSize: 65535,
};

/** The feature tiers of a device: everything, and what is left without f16, subgroups, both. */
export function tiersOf(traits: DeviceTraits): { name: string; traits: DeviceTraits }[] {
  const tiers = [
    { name: 'baseline', traits: { ...traits, f16: false, subgroups: false } },
    { name: 'subgroups', traits: { ...traits, f16: false } },
    { name: 'f16', traits: { ...traits, subgroups: false } },
    { name: 'subgroups+f16', traits },
  ];
  const has = (t: DeviceTraits): boolean => (!t.f16 || traits.f16) && (!t.subgroups || traits.subgroups);
  const distinct = new Map(
    tiers.filter((t) => has(t.traits)).map((t) => [`${t.traits.f16}${t.traits.subgroups}`, t]),
  );
  return [...distinct.values()];
}

/** Runs every variant whose `when` holds in every tier; a kernel that comes out the same in two tiers runs once. */
export async function runVariants<K extends OpKind>(
  variants: readonly KernelVariant<K>[],
  problem: Problem,
): Promise<Outcome[]> {
  const gpu = await testDevice();
  const f32Vector: WeightFormat = {
    name: 'f32',
    blockSize: 4,
    fragment: { file: 'none', text: '' },
    fitsF16: false,
    sections: [{ name: 'data', type: 'vec4<f32>', rowBytes: (cols) => Math.ceil(cols / 4) * 16 }],
  };
  const layout = layoutOf(problem.batch, problem.layout);
  const graph = createGraph(({ names }) => problem.resolve?.(names) ?? f32Vector, layout);
  problem.record(graph);
  const op = graph.ops.at(-1)!;
  const outcomes: Outcome[] = [];
  const seen = new Set<string>();
  for (const tier of tiersOf({
    ...gpu.traits,
    maxBindingBytes: problem.maxBindingBytes ?? gpu.traits.maxBindingBytes,
  })) {
    for (const variant of variants as unknown as readonly KernelVariant[]) {
      if (problem.only && !problem.only.includes(variant.name)) continue;
      if (!variant.when(op, tier.traits)) continue;
      const label = `${op.kind}:${variant.name} (${tier.name})`;
      const sources = buildSources(variant, op, tier.traits);
      const pipelines = await Promise.all(sources.map(({ source }) => gpu.pipeline(source, label)));
      const code = pipelines.map((p) => p.code).join('\n');
      if (seen.has(code)) continue;
      seen.add(code);
      outcomes.push({ label, ...(await runOnce(gpu, op, problem, sources, pipelines, label)) });
    }
  }
  if (outcomes.length === 0) throw new Error(`no variant of ${op.kind} takes this problem`);
  return outcomes;
}

type Sources = ReturnType<typeof buildSources>;
type Pipelines = Awaited<ReturnType<GpuContext['pipeline']>>[];

/** How many of a tensor its buffer has. */
function copiesOf(base: Tensor, { numBlocks }: Pool): number {
  if (base.role?.kind === 'kv') return numBlocks;
  return base.role?.kind === 'sampler' ? base.graph.layout.slots : 1;
}

async function runOnce(
  gpu: GpuContext,
  op: Op,
  problem: Problem,
  sources: Sources,
  pipelines: Pipelines,
  label: string,
): Promise<Omit<Outcome, 'label'>> {
  const { device, buffers } = gpu;
  const made: GPUBuffer[] = [];
  const storage = (bytes: number): GPUBuffer => {
    const buffer = buffers.storage('test', bytes);
    made.push(buffer);
    return buffer;
  };
  try {
    const uniform = buffers.uniform('batch', 16);
    made.push(uniform);
    const counts = countsOf(problem.batch);
    device.queue.writeBuffer(uniform, 0, Uint32Array.of(counts.rows, counts.sequences, counts.workgroups, 0));
    const roles = { ...op.inputs, ...op.outputs } as Record<string, Tensor | undefined>;
    const layout = layoutOf(problem.batch, problem.layout);
    // Where blocks lie changes nothing, so that their seed need not be told.
    const pool = drawPool(seededRandom(freshSeed()), problem.batch, layout);
    const tensors = new Map<Tensor, GPUBuffer>();
    const images = new Map<Tensor, Uint32Array<ArrayBuffer>>();
    for (const [role, tensor] of Object.entries(roles)) {
      if (!tensor) continue;
      const base = baseOf(tensor);
      let image = images.get(base);
      if (!image) {
        image = poisoned(base, copiesOf(base, pool));
        if (base.name === 'batch') image.set(tableOf(problem.batch, layout, pool));
        images.set(base, image);
      }
      const data = problem.data[role];
      const cached = problem.caches?.[role];
      if (isCache(tensor) && cached) writeCache(image, tensor, pool, cached);
      else if (data) writeRows(image, tensor, data);
    }
    for (const [base, image] of images) {
      const buffer = storage(image.byteLength);
      device.queue.writeBuffer(buffer, 0, image);
      tensors.set(base, buffer);
    }
    const weightBuffer = weightUploader(op, problem, storage, device);
    device.pushErrorScope('validation');
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    sources.forEach(({ source, part }, i) => {
      const { pipeline, layout } = pipelines[i]!;
      const entries = Object.values(source.bindings).map((b, n): GPUBindGroupEntry => {
        const buffer =
          'weight' in b ? weightBuffer(b.weight, b.section, part) : tensors.get(baseOf(b.tensor))!;
        return { binding: n + 1, resource: { buffer } };
      });
      const bindGroup = device.createBindGroup({
        layout,
        entries: [{ binding: 0, resource: { buffer: uniform } }, ...entries],
      });
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindGroup);
      if (typeof source.grid === 'function') pass.dispatchWorkgroups(...source.grid(counts));
      else pass.dispatchWorkgroupsIndirect(tensors.get(baseOf(source.grid))!, 0);
    });
    pass.end();
    device.queue.submit([encoder.finish()]);
    const error = await device.popErrorScope();
    if (error) throw new Error(`${op.kind}: ${error.message}`);
    const outputs: Outcome['outputs'] = {};
    const caches: Outcome['caches'] = {};
    for (const [role, tensor] of Object.entries(op.outputs as Record<string, Tensor | undefined>)) {
      if (!tensor) continue;
      const base = baseOf(tensor);
      const words = new Uint32Array(await readBuffer(buffers, tensors.get(base)!));
      if (isCache(tensor)) {
        expectOthersUntouched(images.get(base)!, words, tensor, pool, label);
        caches[role] = readCache(words, tensor, pool);
      } else {
        outputs[role] = readRows(words, tensor, tensor.shape[0]! * copiesOf(base, pool));
      }
    }
    return { outputs, caches };
  } finally {
    made.forEach((b) => {
      buffers.destroy(b);
    });
  }
}

/** Packed weights by part: the rows of each part are cut out of every section. */
function weightUploader(op: Op, problem: Problem, storage: (bytes: number) => GPUBuffer, device: GPUDevice) {
  const roleOf = new Map(
    Object.entries(op.weights as Record<string, Weight | undefined>).map(([role, w]) => [w, role]),
  );
  const cache = new Map<string, GPUBuffer>();
  return (weight: Weight, section: string, part: WeightPart): GPUBuffer => {
    const given = problem.weights?.[roleOf.get(weight)!];
    if (!given) throw new Error(`the problem gives no data for weight ${roleOf.get(weight)}`);
    const key = `${weight.key} ${section} ${weight.isVector ? '' : part.index}`;
    const known = cache.get(key);
    if (known) return known;
    let bytes: Uint8Array;
    if (given instanceof Float32Array) {
      const padded = new Float32Array(Math.ceil(given.length / 4) * 4);
      padded.set(given);
      bytes = new Uint8Array(padded.buffer);
    } else {
      const rowBytes = weight.format.sections.find((s) => s.name === section)!.rowBytes(weight.cols);
      bytes = given[section]!.slice(part.begin * rowBytes, (part.begin + part.rows) * rowBytes);
    }
    const buffer = storage(bytes.length);
    device.queue.writeBuffer(buffer, 0, bytes as Uint8Array<ArrayBuffer>);
    cache.set(key, buffer);
    return buffer;
  };
}

/** Normally distributed values. */
export function randomNormal(random: () => number, length: number, scale = 1): Float32Array {
  return Float32Array.from(
    { length },
    () => scale * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()),
  );
}

/** A fresh seed, printed in every message of `label`. */
export const freshSeed = (): number => Math.floor(Math.random() * 2 ** 32);
