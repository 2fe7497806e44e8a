/**
 * @file Runs every variant of an op, in every feature tier of the adapter, on one problem. Everything that the problem
 * does not give is NaN poison: padding columns, unread cache positions, outputs.
 */
import { buildSources } from '../../src/engine/program.ts';
import { readBuffer } from '../../src/gpu/buffers.ts';
import { type GpuContext, openDevice } from '../../src/gpu/device.ts';
import type { DeviceTraits, KernelVariant, Step, StepRows, WeightPart } from '../../src/gpu/kernel.ts';
import {
  baseOf,
  createGraph,
  type Graph,
  type Op,
  type OpKind,
  rowSize,
  type Tensor,
  tensorBytes,
} from '../../src/graph/graph.ts';
import type { Weight, WeightFormat } from '../../src/graph/weight.ts';

export { seededRandom } from '../seeded-random.ts';

type Data = Float32Array | Uint32Array;

export interface Problem {
  /** How weights are stored; vectors should be f32. */
  resolve?: (names: readonly string[]) => WeightFormat;
  /** Records the op under test (with its views); the last op of the graph is the one that runs. */
  record(graph: Graph): void;
  /** Dense rows [shape[0], rowSize] by input or output role (an output role gives its state before the step). Roles without data are poison. */
  data: Readonly<Record<string, Data>>;
  /** By weight role: the packed sections of a matrix, or the values of a vector. */
  weights?: Readonly<Record<string, Readonly<Record<string, Uint8Array>> | Float32Array>>;
  step: StepRows & Partial<Step>;
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
}

/** A quiet NaN that no kernel computes by itself. */
export const POISON = 0x7fc00bad;
const POISON_F16 = 0x7e0d;

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
  const graph = createGraph((names) => problem.resolve?.(names) ?? f32Vector);
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
      outcomes.push({ label, outputs: await runOnce(gpu, op, problem, sources, pipelines) });
    }
  }
  if (outcomes.length === 0) throw new Error(`no variant of ${op.kind} takes this problem`);
  return outcomes;
}

type Sources = ReturnType<typeof buildSources>;
type Pipelines = Awaited<ReturnType<GpuContext['pipeline']>>[];

async function runOnce(
  gpu: GpuContext,
  op: Op,
  problem: Problem,
  sources: Sources,
  pipelines: Pipelines,
): Promise<Outcome['outputs']> {
  const { device, buffers } = gpu;
  const made: GPUBuffer[] = [];
  const storage = (bytes: number): GPUBuffer => {
    const buffer = buffers.storage('test', bytes);
    made.push(buffer);
    return buffer;
  };
  try {
    const step = buffers.uniform('step', 16);
    made.push(step);
    const given: Step = { workgroups: 1024, ...problem.step };
    const { rows, position, workgroups } = given;
    device.queue.writeBuffer(step, 0, Uint32Array.of(rows, position, workgroups, 0));
    const roles = { ...op.inputs, ...op.outputs } as Record<string, Tensor | undefined>;
    const tensors = new Map<Tensor, GPUBuffer>();
    const images = new Map<Tensor, Uint32Array>();
    for (const [role, tensor] of Object.entries(roles)) {
      if (!tensor) continue;
      const base = baseOf(tensor);
      let image = images.get(base);
      if (!image) {
        image = poisoned(base);
        images.set(base, image);
      }
      const data = problem.data[role];
      if (data) writeRows(image, tensor, data);
    }
    for (const [base, image] of images) {
      const buffer = storage(image.byteLength);
      device.queue.writeBuffer(buffer, 0, image as Uint32Array<ArrayBuffer>);
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
        entries: [{ binding: 0, resource: { buffer: step } }, ...entries],
      });
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindGroup);
      if (typeof source.grid === 'function') pass.dispatchWorkgroups(...source.grid(given));
      else pass.dispatchWorkgroupsIndirect(tensors.get(baseOf(source.grid))!, 0);
    });
    pass.end();
    device.queue.submit([encoder.finish()]);
    const error = await device.popErrorScope();
    if (error) throw new Error(`${op.kind}: ${error.message}`);
    const outputs: Outcome['outputs'] = {};
    for (const [role, tensor] of Object.entries(op.outputs as Record<string, Tensor>)) {
      const words = new Uint32Array(await readBuffer(buffers, tensors.get(baseOf(tensor))!));
      outputs[role] = readRows(words, tensor);
    }
    return outputs;
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

function poisoned(base: Tensor): Uint32Array {
  const words = new Uint32Array(Math.max(4, Math.ceil(tensorBytes(base) / 16) * 4));
  return words.fill(base.dtype === 'f16' ? POISON_F16 | (POISON_F16 << 16) : POISON);
}

function writeRows(image: Uint32Array, t: Tensor, data: Data): void {
  const cols = rowSize(t);
  const floats = new Float32Array(image.buffer);
  const halves = new Uint16Array(image.buffer);
  for (let r = 0; r * cols < data.length; r++) {
    for (let c = 0; c < cols; c++) {
      const at = t.offset + r * t.rowStride + c;
      const value = data[r * cols + c]!;
      if (t.dtype === 'u32') image[at] = value;
      // A word write keeps the bits of a NaN given as data.
      else if (t.dtype === 'f32') floats[at] = value;
      else halves[at] = f16Bits(value);
    }
  }
}

function readRows(words: Uint32Array, t: Tensor): Data {
  const [rows, cols] = [t.shape[0]!, rowSize(t)];
  const floats = new Float32Array(words.buffer);
  const halves = new Uint16Array(words.buffer);
  const out = t.dtype === 'u32' ? new Uint32Array(rows * cols) : new Float32Array(rows * cols);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) {
      const at = t.offset + r * t.rowStride + c;
      out[r * cols + c] =
        t.dtype === 'u32' ? words[at]! : t.dtype === 'f32' ? floats[at]! : f16Value(halves[at]!);
    }
  }
  return out;
}

const f32Scratch = new Float32Array(1);
const bitsScratch = new Uint32Array(f32Scratch.buffer);

/** float32 -> float16 bits, round to nearest even. */
export function f16Bits(value: number): number {
  f32Scratch[0] = value;
  const x = bitsScratch[0]!;
  const sign = (x >>> 16) & 0x8000;
  if (Number.isNaN(value)) return sign | 0x7e00;
  const magnitude = Math.abs(f32Scratch[0]!);
  if (magnitude >= 65520) return sign | 0x7c00;
  if (magnitude < 2 ** -14) return sign | roundEven(magnitude * 2 ** 24);
  const exponent = ((x >>> 23) & 0xff) - 127;
  const mantissa = roundEven((magnitude / 2 ** exponent - 1) * 1024);
  return sign | (((exponent + 15) << 10) + mantissa);
}

function roundEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

/** float16 bits -> number. */
export function f16Value(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 31;
  const mantissa = bits & 1023;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent === 0 ? sign * mantissa * 2 ** -24 : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
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
