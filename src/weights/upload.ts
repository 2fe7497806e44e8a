/**
 * @file Weights from a checkpoint to the GPU: streams tensors in file order through a small staging chunk, packs rows into
 * their format, and puts them where the graph wants them (stacked or in turn, split over buffers). The JS heap never
 * holds more than the chunk. Knows tensors and formats; it must not know models.
 */
import scatterCode from '../../kernels/weights/scatter-words.wgsl?raw';
import { WeightMismatchError } from '../errors.ts';
import { allocate } from '../gpu/buffers.ts';
import type { GpuContext } from '../gpu/device.ts';
import { splitRows, type WeightPart } from '../gpu/kernel.ts';
import type { Weight } from '../graph/graph.ts';
import { type Checkpoint, streamTensors, type TensorEntry } from './checkpoint.ts';
import { widen } from './pack.ts';
import { createProgress, type LoadProgress } from './progress.ts';
import { findStored } from './stored.ts';
import type { CheckedPiece, Piece } from './stored-matrix.ts';

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

/** Where a piece goes: to `rows` rows of a weight, of which row r is row `first + r * stride` of the weight. */
interface Place {
  weight: Weight;
  piece: Piece;
  rows: number;
  first: number;
  stride: number;
}

/** Allocates and fills every weight. On error or abort everything allocated here is released. */
export async function uploadWeights(
  gpu: GpuContext,
  checkpoint: Pick<Checkpoint, 'config' | 'source' | 'tensors'>,
  weights: Iterable<Weight>,
  { signal, onProgress, chunkBytes = CHUNK_BYTES }: UploadOptions = {},
): Promise<GpuWeights> {
  const parts = new Map<string, { weight: Weight; parts: WeightPart[]; buffers: Map<string, GPUBuffer>[] }>();
  const places = new Map<string, Place[]>();
  const wanted: TensorEntry[] = [];
  const find = findStored(checkpoint);
  const everyWeight = [...weights];
  const vectors = new Set(everyWeight.flatMap(({ isVector, names }) => (isVector ? names : [])));
  let bytes = 0;
  const dispose = (): void => {
    for (const { buffers } of parts.values())
      for (const sections of buffers) sections.forEach(gpu.buffers.destroy);
  };
  try {
    await allocate(gpu.device, 'the weights', () => {
      for (const weight of everyWeight) {
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
          const { pieces } = find(name, weight.isVector ? [rows] : [rows, weight.cols]);
          for (const piece of [...pieces, ...unclaimedBias(checkpoint, name, vectors)]) {
            const place = { weight, piece, rows, first: before + turn, stride: weight.interleave };
            const known = places.get(piece.tensor.name);
            if (known) {
              known.push(place);
            } else {
              places.set(piece.tensor.name, [place]);
              wanted.push(piece.tensor);
            }
          }
          if (turn === weight.interleave - 1) before += rows * weight.interleave;
        });
      }
    });
    gpu.throwIfFaulty();
    const progress = createProgress(
      wanted.reduce((sum, t) => sum + t.end - t.begin, 0),
      wanted.length,
      onProgress,
    );
    const sizesOf = ({ name }: TensorEntry): RowSizes => {
      const sizes = places.get(name)!.map(sizesOfPlace);
      return {
        packedBytes: Math.max(...sizes.map((size) => size.packedBytes)),
        together: Math.max(...sizes.map((size) => size.together)),
      };
    };
    const writer = createWriter(gpu, (weight) => parts.get(weight.key)!);
    try {
      for await (const rows of chunksOfRows(checkpoint, wanted, chunkBytes, sizesOf, signal)) {
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

/** What packing makes of the rows of a tensor: the most bytes of one row, and how many rows must come together. */
interface RowSizes {
  packedBytes: number;
  together: number;
}

function sizesOfPlace({ weight, piece, rows }: Place): RowSizes {
  switch (piece.lies) {
    case 'rows': {
      const section = weight.format.sections.find(({ name }) => name === piece.section)!;
      return { packedBytes: section.rowBytes(weight.cols) * piece.rowsPerStored, together: 1 };
    }
    case 'columns':
      return { packedBytes: Math.ceil((rows * 4) / piece.storedPerWord), together: piece.storedPerWord };
    default:
      return { packedBytes: 0, together: 1 };
  }
}

/** A bias beside a matrix that no op adds, as GPTQ checkpoints have them: it must be nothing but zeros. */
function unclaimedBias(
  { tensors }: Pick<Checkpoint, 'tensors'>,
  name: string,
  claimed: ReadonlySet<string>,
): CheckedPiece[] {
  const bias = name.endsWith('.weight') ? tensors.get(name.replace(/weight$/, 'bias')) : undefined;
  if (!bias || claimed.has(bias.name)) return [];
  const check = (bytes: Uint8Array<ArrayBuffer>): void => {
    if (widen(bias.dtype, bytes).every((value) => value === 0)) return;
    throw new WeightMismatchError(
      `${bias.name} is not zero, and the model that config.json describes has no bias there. Check that config.json belongs to these weights.`,
    );
  };
  return [{ lies: 'nowhere', tensor: bias, check }];
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
  sizesOf: (tensor: TensorEntry) => RowSizes,
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
    const { packedBytes, together } = sizesOf(tensor);
    if (rowBytes * together > staging.length) {
      const larger = new Uint8Array(rowBytes * together);
      larger.set(staging.subarray(0, filled));
      staging = larger;
    }
    const bunches = Math.floor(chunkBytes / (Math.max(rowBytes, packedBytes) * together));
    const room = Math.max(1, bunches) * together * rowBytes;
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
  const { device } = gpu;
  const scatter = createScatter(gpu);
  let inFlight = 0;
  const flush = async (): Promise<void> => {
    device.queue.submit([]);
    await device.queue.onSubmittedWorkDone();
    inFlight = 0;
  };
  return {
    flush,
    dispose: scatter.dispose,
    async write({ weight, piece, rows, first, stride }: Place, chunk: RowChunk): Promise<void> {
      if (piece.lies === 'nowhere') return piece.check(chunk.bytes);
      const { parts, buffers } = partsOf(weight);
      const rowBytes = weight.format.sections.find((s) => s.name === piece.section)!.rowBytes(weight.cols);
      // Rows of the piece that `bytes` holds.
      let [firstRow, numRows] = [0, rows];
      let bytes: Uint8Array<ArrayBuffer>;
      if (piece.lies === 'rows') {
        firstRow = chunk.firstRow * piece.rowsPerStored;
        numRows = Math.min(chunk.numRows * piece.rowsPerStored, rows - firstRow);
        bytes = piece.pack(chunk.bytes, numRows, rowBytes, weight.format);
      } else {
        bytes = piece.pack(chunk.bytes);
      }
      if (weight.isVector) {
        // The pieces of a fused vector stand one after another; all but the last fill whole vec4s or are written as words.
        const target = buffers[0]!.get(piece.section)!;
        device.queue.writeBuffer(target, vectorOffset(weight, chunk.tensor.name), bytes);
        return;
      }
      const isWhole = piece.lies === 'rows' && !piece.isPartial && stride === 1;
      if (!isWhole) scatter.stage(bytes);
      for (const part of parts) {
        // Rows r of the chunk with part.begin <= first + (firstRow + r) * stride < part.begin + part.rows.
        const rowAt = (position: number): number => Math.ceil((position - first) / stride) - firstRow;
        const begin = Math.max(0, rowAt(part.begin));
        const end = Math.min(numRows, rowAt(part.begin + part.rows));
        if (begin >= end) continue;
        const target = buffers[part.index]!.get(piece.section)!;
        const at = first + (firstRow + begin) * stride - part.begin;
        if (isWhole) {
          device.queue.writeBuffer(target, at * rowBytes, bytes.subarray(begin * rowBytes, end * rowBytes));
          continue;
        }
        const rowWords = rowBytes / 4;
        const count = end - begin;
        const dstRow = { first: at * rowWords, step: stride * rowWords };
        if (piece.lies === 'rows') {
          scatter.words(target, {
            majors: { count, src: rowWords, dst: dstRow.step },
            minors: { count: rowWords, dst: 1 },
            first: { src: begin * rowWords, dst: dstRow.first },
          });
        } else if (piece.lies === 'columns') {
          scatter.words(target, {
            majors: { count: bytes.length / 4 / rows, src: rows, dst: 1 },
            minors: { count, dst: dstRow.step },
            first: { src: begin, dst: dstRow.first + chunk.firstRow / piece.storedPerWord },
          });
        } else {
          scatter.words(target, {
            majors: { count, src: 0, dst: dstRow.step },
            minors: { count: bytes.length / 4, dst: 1 },
            first: { src: 0, dst: dstRow.first + piece.firstWord },
          });
        }
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

/** See scatter-words.wgsl: counts and steps, in words. */
interface WordMoves {
  majors: { count: number; src: number; dst: number };
  minors: { count: number; dst: number };
  first: { src: number; dst: number };
}

/** Puts words of a staging buffer, the same for all, where a weight has them. */
function createScatter({ device, buffers }: GpuContext) {
  let pipeline: GPUComputePipeline | undefined;
  let staging: GPUBuffer | undefined;
  const params = buffers.uniform('scatter params', 32);
  return {
    stage(bytes: Uint8Array<ArrayBuffer>): void {
      if (!staging || staging.size < bytes.length) {
        if (staging) buffers.destroy(staging);
        staging = buffers.storage('scatter staging', bytes.length);
      }
      device.queue.writeBuffer(staging, 0, bytes);
    },
    words(target: GPUBuffer, { majors, minors, first }: WordMoves): void {
      pipeline ??= device.createComputePipeline({
        label: 'scatter-words',
        layout: 'auto',
        compute: { module: device.createShaderModule({ code: scatterCode }), entryPoint: 'main' },
      });
      device.queue.writeBuffer(
        params,
        0,
        new Uint32Array([
          majors.count,
          minors.count,
          first.src,
          majors.src,
          first.dst,
          majors.dst,
          minors.dst,
          0,
        ]),
      );
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(
        0,
        device.createBindGroup({
          layout: pipeline.getBindGroupLayout(0),
          entries: [params, staging!, target].map((buffer, binding) => ({ binding, resource: { buffer } })),
        }),
      );
      const groups = Math.ceil((majors.count * minors.count) / 64);
      const x = Math.min(groups, device.limits.maxComputeWorkgroupsPerDimension);
      pass.dispatchWorkgroups(x, Math.ceil(groups / x));
      pass.end();
      device.queue.submit([encoder.finish()]);
    },
    dispose(): void {
      if (staging) buffers.destroy(staging);
      buffers.destroy(params);
    },
  };
}
