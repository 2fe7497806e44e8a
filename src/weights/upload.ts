/**
 * @file Weights from a checkpoint to the GPU: streams tensors in file order through a small staging chunk, packs rows into
 * their format, and puts them where the graph wants them (stacked or in turn, split over buffers). The JS heap never
 * holds more than the chunk. Knows tensors and formats; it must not know models.
 */
import scatterCode from '../../kernels/weights/scatter-rows.wgsl?raw';
import { allocate } from '../gpu/buffers.ts';
import type { GpuContext } from '../gpu/device.ts';
import { splitRows, type WeightPart } from '../gpu/kernel.ts';
import type { Weight, WeightSection } from '../graph/graph.ts';
import { type Checkpoint, streamTensors, type TensorEntry } from './checkpoint.ts';
import { FP8_BLOCK, scaleNameOf } from './fp8.ts';
import { packRows, packScales } from './pack.ts';
import { createProgress, type LoadProgress } from './progress.ts';

export interface GpuWeights {
  buffer(weight: Weight, section: string, part: WeightPart): GPUBuffer;
  readonly bytes: number;
  /** Releases every buffer. */
  dispose(): void;
}

export interface UploadOptions {
  signal?: AbortSignal;
  onProgress?: (progress: LoadProgress) => void;
  /** Bytes of checkpoint held at a time. */
  chunkBytes?: number;
}

const CHUNK_BYTES = 4 << 20;
/** Bytes written before the GPU must have caught up, so that the driver's own staging stays bounded. */
const IN_FLIGHT_BYTES = 32 << 20;

/** Where a tensor goes: it gives a section of `rows` rows of a weight, of which row r is row `first + r * stride` of the weight. */
interface Place {
  weight: Weight;
  section: WeightSection;
  rows: number;
  first: number;
  stride: number;
}

/** The tensor that a section comes from. */
const storedName = (name: string, { name: section }: WeightSection): string =>
  section === 'scale' ? scaleNameOf(name) : name;

/** Weight rows that a row of a section's tensor stands for. */
const rowsPerStored = ({ name }: WeightSection): number => (name === 'scale' ? FP8_BLOCK : 1);

/** Allocates and fills every weight. On error or abort everything allocated here is released. */
export async function uploadWeights(
  gpu: GpuContext,
  checkpoint: Pick<Checkpoint, 'source' | 'tensors'>,
  weights: Iterable<Weight>,
  { signal, onProgress, chunkBytes = CHUNK_BYTES }: UploadOptions = {},
): Promise<GpuWeights> {
  const parts = new Map<string, { weight: Weight; parts: WeightPart[]; buffers: Map<string, GPUBuffer>[] }>();
  const places = new Map<string, Place[]>();
  let bytes = 0;
  const dispose = (): void => {
    for (const { buffers } of parts.values())
      for (const sections of buffers) sections.forEach(gpu.buffers.destroy);
  };
  try {
    await allocate(gpu.device, 'the weights', () => {
      for (const weight of weights) {
        const split = weight.isVector
          ? [{ index: 0, begin: 0, rows: 1 }]
          : splitRows(weight, gpu.traits.maxBindingBytes);
        const buffers = split.map(
          (part) =>
            new Map(
              weight.format.sections.map((s) => {
                const buffer = gpu.buffers.storage(
                  `${weight.key} ${s.name}`,
                  s.rowBytes(weight.cols) * part.rows,
                );
                bytes += buffer.size;
                return [s.name, buffer];
              }),
            ),
        );
        parts.set(weight.key, { weight, parts: split, buffers });
        let before = 0;
        weight.names.forEach((name, i) => {
          // Names that take turns begin together; the next ones begin behind the rows of all of them.
          const turn = i % weight.interleave;
          const rows = weight.rowsOf[i]!;
          for (const section of weight.format.sections) {
            const stored = storedName(name, section);
            const place = { weight, section, rows, first: before + turn, stride: weight.interleave };
            places.set(stored, [...(places.get(stored) ?? []), place]);
          }
          if (turn === weight.interleave - 1) before += rows * weight.interleave;
        });
      }
    });
    gpu.throwIfFaulty();
    const wanted = [...places.keys()].map((name) => checkpoint.tensors.get(name)!);
    const progress = createProgress(
      wanted.reduce((sum, t) => sum + t.end - t.begin, 0),
      wanted.length,
      onProgress,
    );
    const packedRowBytes = ({ name }: TensorEntry): number =>
      Math.max(
        ...places
          .get(name)!
          .map(({ weight, section }) => section.rowBytes(weight.cols) * rowsPerStored(section)),
      );
    const writer = createWriter(gpu, (weight) => parts.get(weight.key)!);
    try {
      for await (const rows of chunksOfRows(checkpoint, wanted, chunkBytes, packedRowBytes, signal)) {
        signal?.throwIfAborted();
        for (const place of places.get(rows.tensor.name)!) await writer.write(place, rows);
        progress.addBytes(rows.bytes.length);
        if (rows.isLast) progress.addTensor();
      }
      await writer.flush();
    } finally {
      writer.dispose();
    }
    gpu.throwIfFaulty();
  } catch (error) {
    dispose();
    throw error;
  }
  return {
    bytes,
    dispose,
    buffer: (weight, section, part) =>
      parts.get(weight.key)!.buffers[weight.isVector ? 0 : part.index]!.get(section)!,
  };
}

/** Whole rows of a tensor. `bytes` is valid until the next chunk. */
interface RowChunk {
  tensor: TensorEntry;
  firstRow: number;
  numRows: number;
  bytes: Uint8Array<ArrayBuffer>;
  isLast: boolean;
}

/**
 * Cuts the stream of tensors into chunks of whole rows, of which neither the stored nor the packed bytes are more than
 * `chunkBytes`, where a row is not. A vector is one row.
 */
async function* chunksOfRows(
  checkpoint: Pick<Checkpoint, 'source'>,
  wanted: readonly TensorEntry[],
  chunkBytes: number,
  packedRowBytes: (tensor: TensorEntry) => number,
  signal: AbortSignal | undefined,
): AsyncGenerator<RowChunk> {
  let staging = new Uint8Array(chunkBytes);
  let filled = 0;
  let firstRow = 0;
  for await (const { tensor, offset, bytes } of streamTensors(checkpoint.source, wanted, { signal })) {
    if (offset === 0) {
      filled = 0;
      firstRow = 0;
    }
    const tensorBytes = tensor.end - tensor.begin;
    // A vector is packed as one row, whose bytes must come together.
    const rowBytes = tensor.shape.length < 2 ? tensorBytes : tensorBytes / tensor.shape[0]!;
    if (rowBytes > staging.length) {
      const larger = new Uint8Array(rowBytes);
      larger.set(staging.subarray(0, filled));
      staging = larger;
    }
    const room = Math.max(1, Math.floor(chunkBytes / Math.max(rowBytes, packedRowBytes(tensor)))) * rowBytes;
    for (let at = 0; at < bytes.length; ) {
      const take = Math.min(bytes.length - at, room - filled);
      staging.set(bytes.subarray(at, at + take), filled);
      at += take;
      filled += take;
      const isLast = offset + at === tensorBytes;
      if (filled === room || isLast) {
        const numRows = filled / rowBytes;
        yield { tensor, firstRow, numRows, bytes: staging.subarray(0, filled), isLast };
        firstRow += numRows;
        filled = 0;
      }
    }
  }
}

/** Writes packed rows to their parts, and waits for the GPU when too much is in flight. */
function createWriter(
  gpu: GpuContext,
  partsOf: (w: Weight) => { parts: WeightPart[]; buffers: Map<string, GPUBuffer>[] },
) {
  const { device, buffers } = gpu;
  const scatter = createScatter(gpu);
  let inFlight = 0;
  const flush = async (): Promise<void> => {
    device.queue.submit([]);
    await device.queue.onSubmittedWorkDone();
    inFlight = 0;
  };
  return {
    flush,
    dispose: () => scatter.dispose(buffers),
    async write({ weight, section, rows, first, stride }: Place, chunk: RowChunk): Promise<void> {
      const { parts, buffers } = partsOf(weight);
      const { dtype } = chunk.tensor;
      const rowBytes = section.rowBytes(weight.cols);
      const firstRow = chunk.firstRow * rowsPerStored(section);
      const numRows = Math.min(chunk.numRows * rowsPerStored(section), rows - firstRow);
      const bytes =
        section.name === 'scale'
          ? packScales(dtype, chunk.bytes, numRows, rowBytes)
          : packRows(weight.format, weight.isVector, dtype, chunk.bytes, numRows);
      if (weight.isVector) {
        // The pieces of a fused vector stand one after another; all but the last fill whole vec4s or are written as words.
        const target = buffers[0]!.get(section.name)!;
        device.queue.writeBuffer(target, vectorOffset(weight, chunk.tensor.name), bytes);
        return;
      }
      for (const part of parts) {
        // Rows r of the chunk with part.begin <= first + (firstRow + r) * stride < part.begin + part.rows.
        const rowAt = (position: number): number => Math.ceil((position - first) / stride) - firstRow;
        const begin = Math.max(0, rowAt(part.begin));
        const end = Math.min(numRows, rowAt(part.begin + part.rows));
        if (begin >= end) continue;
        const target = buffers[part.index]!.get(section.name)!;
        const inPart = bytes.subarray(begin * rowBytes, end * rowBytes);
        const at = first + (firstRow + begin) * stride - part.begin;
        if (stride === 1) device.queue.writeBuffer(target, at * rowBytes, inPart);
        else scatter.rows(target, inPart, rowBytes, at, stride);
      }
      inFlight += bytes.length;
      if (inFlight >= IN_FLIGHT_BYTES) await flush();
    },
  };
}

/** Where a piece of a fused vector starts, in bytes. */
function vectorOffset(weight: Weight, name: string): number {
  let values = 0;
  for (let i = 0; weight.names[i] !== name; i++) values += weight.rowsOf[i]!;
  return values * 4;
}

/** Copies rows into every stride-th row of a buffer on the GPU, through one staging buffer. */
function createScatter({ device, buffers }: GpuContext) {
  let pipeline: GPUComputePipeline | undefined;
  let staging: GPUBuffer | undefined;
  const params = buffers.uniform('scatter params', 16);
  return {
    rows(
      target: GPUBuffer,
      rows: Uint8Array<ArrayBuffer>,
      rowBytes: number,
      first: number,
      stride: number,
    ): void {
      pipeline ??= device.createComputePipeline({
        label: 'scatter-rows',
        layout: 'auto',
        compute: { module: device.createShaderModule({ code: scatterCode }), entryPoint: 'main' },
      });
      if (!staging || staging.size < rows.length) {
        if (staging) buffers.destroy(staging);
        staging = buffers.storage('scatter staging', rows.length);
      }
      const rowVec4s = rowBytes / 16;
      const numRows = rows.length / rowBytes;
      device.queue.writeBuffer(staging, 0, rows);
      device.queue.writeBuffer(params, 0, new Uint32Array([numRows, rowVec4s, first, stride]));
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(
        0,
        device.createBindGroup({
          layout: pipeline.getBindGroupLayout(0),
          entries: [params, staging, target].map((buffer, binding) => ({ binding, resource: { buffer } })),
        }),
      );
      const groups = Math.ceil((numRows * rowVec4s) / 64);
      const x = Math.min(groups, device.limits.maxComputeWorkgroupsPerDimension);
      pass.dispatchWorkgroups(x, Math.ceil(groups / x));
      pass.end();
      device.queue.submit([encoder.finish()]);
    },
    dispose(pool: GpuContext['buffers']): void {
      if (staging) pool.destroy(staging);
      pool.destroy(params);
    },
  };
}
