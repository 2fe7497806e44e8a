/**
 * @file The speed of single kernels on the shapes of a model: matrices in every format times one row, a few rows and a prefill's
 * rows, over as many different matrices as no cache holds. As fractions of the floors of the same run.
 */
import { kernels } from '../../kernels/index.ts';
import type { GpuContext } from '../../src/gpu/device.ts';
import { splitRows, type WeightPart } from '../../src/gpu/kernel.ts';
import { createGraph, createTensor, type Graph } from '../../src/graph/graph.ts';
import { type LinearOp, linear } from '../../src/graph/ops/linear.ts';
import { planGraph, weightBytes } from '../../src/graph/plan.ts';
import { type Weight, type WeightFormat, Weights } from '../../src/graph/weight.ts';
import { countsOf } from '../../src/runtime/generate/batch.ts';
import { Executor } from '../../src/runtime/program/executor.ts';
import { convertedFormats } from '../../src/weights/converted-formats.ts';
import { formats } from '../../src/weights/formats.ts';
import { blockFormats } from '../../src/weights/gguf/blocks.ts';
import type { GpuWeights } from '../../src/weights/upload.ts';
import { normalBlock } from '../random-checkpoint.ts';
import { type Floors, timeOnGpu } from './floors.ts';

export interface KernelSpeed {
  kernel: string;
  /** `rows of the matrix x columns`. */
  matrix: string;
  format: string;
  rows: number;
  milliseconds: number;
  /** Bytes of packed weights, in 1e9 a second. */
  gigabytesPerSecond: number;
  gigaflopsPerSecond: number;
  ofCopy: number;
  ofGemm: number;
}

/** Formats as they are loaded and converted. */
export const KERNEL_FORMATS = {
  bf16: formats.bf16,
  f16: formats.f16,
  fp8: formats.fp8,
  int8: convertedFormats.int8,
  int4: convertedFormats.int4,
  Q8_0: blockFormats.Q8_0,
  Q6_K: blockFormats.Q6_K,
  Q4_K: blockFormats.Q4_K,
  Q4_0: blockFormats.Q4_0,
} satisfies Record<string, WeightFormat>;

export interface MatrixShape {
  name: string;
  weightRows: number;
  cols: number;
}

/** The matrices of a dense layer and the head, from its config. */
export function matricesOf(config: Readonly<Record<string, unknown>>): MatrixShape[] {
  const n = (key: string): number => config[key] as number;
  const [hidden, mlp, heads, kvHeads, headDim] = [
    n('hidden_size'),
    n('intermediate_size'),
    n('num_attention_heads'),
    n('num_key_value_heads'),
    n('head_dim'),
  ];
  return [
    { name: 'qkv', weightRows: (heads + 2 * kvHeads) * headDim, cols: hidden },
    { name: 'o', weightRows: hidden, cols: heads * headDim },
    { name: 'gate+up', weightRows: 2 * mlp, cols: hidden },
    { name: 'down', weightRows: hidden, cols: mlp },
    { name: 'lm_head', weightRows: n('vocab_size'), cols: hidden },
  ];
}

/** Buffers of random bytes that are plausible in any format. */
function randomWeights(gpu: GpuContext, weights: Iterable<Weight>): GpuWeights {
  const block = normalBlock(0, 0.02) as Uint8Array<ArrayBuffer>;
  const made = new Map<string, GPUBuffer>();
  const keyOf = (weight: Weight, section: string, part: WeightPart): string =>
    `${weight.key} ${section} ${part.index}`;
  let bytes = 0;
  for (const weight of weights) {
    for (const part of splitRows(weight, gpu.traits.maxBindingBytes)) {
      for (const { name, rowBytes } of weight.format.sections) {
        const buffer = gpu.buffers.storage(weight.key, rowBytes(weight.cols) * part.rows);
        bytes += buffer.size;
        made.set(keyOf(weight, name, part), buffer);
        const whole = Math.floor(block.length / 16) * 16;
        for (let at = 0; at < buffer.size; at += whole)
          gpu.device.queue.writeBuffer(buffer, at, block, 0, Math.min(whole, buffer.size - at));
      }
    }
  }
  return {
    bytes,
    conversionErrors: [],
    buffer: (weight, section, part) => made.get(keyOf(weight, section, part))!,
    dispose: () => {
      for (const buffer of made.values()) gpu.buffers.destroy(buffer);
    },
  };
}

/** The products of one measurement: as many matrices of a shape as hold `leastBytes`. */
function recordLinears(
  shape: MatrixShape,
  format: WeightFormat,
  rows: number,
  leastBytes: number,
): { graph: Graph; each: number; count: number } {
  const graph = createGraph(() => format);
  const w = new Weights(graph);
  const x = createTensor(graph, [rows, shape.cols]);
  const each = weightBytes(w.matrix(['m0'], [shape.weightRows], shape.cols));
  const count = Math.max(1, Math.ceil(leastBytes / each));
  for (let i = 0; i < count; i++) linear(x, w.matrix([`m${i}`], [shape.weightRows], shape.cols));
  return { graph, each, count };
}

/** Names of the variants that can compute a product on a device, the one in use first; tiles of few rows are no candidates. */
export function variantsOf(
  gpu: GpuContext,
  shape: MatrixShape,
  format: keyof typeof KERNEL_FORMATS,
  rows: number,
): string[] {
  const op = recordLinears(shape, KERNEL_FORMATS[format], rows, 1).graph.ops[0] as LinearOp;
  const able = kernels.linear.filter((v) => v.when(op, gpu.traits)).map(({ name }) => name);
  const matvecs = able.filter((name) => name.startsWith('matvec'));
  return matvecs.length > 0 ? matvecs : able;
}

/**
 * @param leastBytes of weights that one measurement reads, more than any cache has
 * @param variant of the kernel; undefined: the one in use
 */
export async function measureLinear(
  gpu: GpuContext,
  floors: Floors,
  shape: MatrixShape,
  formatName: keyof typeof KERNEL_FORMATS,
  rows: number,
  { leastBytes, runs, variant }: { leastBytes: number; runs: number; variant?: string | undefined },
): Promise<KernelSpeed> {
  const { graph, each, count } = recordLinears(shape, KERNEL_FORMATS[formatName], rows, leastBytes);
  const weights = randomWeights(gpu, graph.weights.values());
  try {
    const plans = { it: planGraph(graph) };
    const executor = await Executor.create(gpu, weights, plans, kernels, {
      ...(variant && { forced: { linear: variant } }),
    });
    try {
      const batch = [{ slot: 0, position: 0, tokens: new Array<number>(rows).fill(0), length: rows }];
      const counts = countsOf(batch, executor.workgroups);
      const milliseconds = (await timeOnGpu(gpu, runs, () => executor.submit('it', counts))) / count;
      const gigabytesPerSecond = each / milliseconds / 1e6;
      const gigaflopsPerSecond = (2 * rows * shape.weightRows * shape.cols) / milliseconds / 1e6;
      return {
        kernel: `${executor.dispatches()[0]!.label} ${shape.name}`,
        matrix: `${shape.weightRows} x ${shape.cols}`,
        format: formatName,
        rows,
        milliseconds,
        gigabytesPerSecond,
        gigaflopsPerSecond,
        ofCopy: gigabytesPerSecond / floors.copyGigabytesPerSecond,
        ofGemm: gigaflopsPerSecond / floors.gemmGigaflopsPerSecond,
      };
    } finally {
      executor.dispose();
    }
  } finally {
    weights.dispose();
  }
}
