/**
 * @file Rows of stored tensors to the parts of the weights that they belong to: as they are, word by word, or converted. Waits
 * for the GPU when too much is in flight. Knows formats and buffers; it must not know files.
 */
import type { GpuContext } from '../gpu/device.ts';
import type { WeightPart } from '../gpu/kernel.ts';
import type { Weight, WeightFormat } from '../graph/weight.ts';
import { type ConversionError, createConverter } from './convert.ts';
import type { LoadGauge } from './load-gauge.ts';
import type { RowChunk } from './row-chunks.ts';
import { createScatter } from './scatter.ts';
import type { Piece } from './stored-matrix.ts';
import { createGrowingBuffer } from './upload-pass.ts';

/** Bytes written before the GPU must have caught up, so that the driver's own staging stays bounded. */
const IN_FLIGHT_BYTES = 32 << 20;

/** Where a piece goes: to `rows` rows of a weight, of which row r is row `first + r * stride` of the weight. */
export interface Place {
  weight: Weight;
  piece: Piece;
  /** The format that the piece's bytes are in; another than the weight's when they are converted. */
  source: WeightFormat;
  rows: number;
  first: number;
  stride: number;
}

/** The parts of a weight, and the buffers of each part by section. */
export interface WeightBuffers {
  readonly parts: readonly WeightPart[];
  readonly buffers: readonly ReadonlyMap<string, GPUBuffer>[];
}

export interface Writer {
  /** Takes the chunk's bytes before it resolves. */
  write(place: Place, chunk: RowChunk): Promise<void>;
  /** Waits until everything is done. */
  flush(): Promise<void>;
  conversionErrors(): Promise<ConversionError[]>;
  dispose(): void;
}

export function createWriter(
  gpu: GpuContext,
  buffersOf: (weight: Weight) => WeightBuffers,
  gauge: LoadGauge,
): Writer {
  const { device } = gpu;
  const scatter = createScatter(gpu);
  const converter = createConverter(gpu);
  const staging = createGrowingBuffer(gpu, 'staging of weights');
  let inFlight = 0;
  const stage = (bytes: Uint8Array<ArrayBuffer>): GPUBuffer => {
    const buffer = staging.atLeast(bytes.length);
    device.queue.writeBuffer(buffer, 0, bytes);
    return buffer;
  };
  const flush = async (): Promise<void> => {
    device.queue.submit([]);
    await device.queue.onSubmittedWorkDone();
    inFlight = 0;
  };

  /** Writes what a chunk has of a piece, and tells how many bytes that were. */
  function put({ weight, piece, source, rows, first, stride }: Place, chunk: RowChunk): number {
    if (piece.lies === 'nowhere') {
      piece.check(chunk.bytes);
      return 0;
    }
    const { parts, buffers } = buffersOf(weight);
    const rowBytes = source.sections.find((s) => s.name === piece.section)!.rowBytes(weight.cols);
    // Rows of the piece that `bytes` holds.
    let [firstRow, numRows] = [0, rows];
    let bytes: Uint8Array<ArrayBuffer>;
    if (piece.lies === 'rows') {
      firstRow = chunk.firstRow * piece.rowsPerStored;
      numRows = Math.min(chunk.numRows * piece.rowsPerStored, rows - firstRow);
      bytes = piece.pack(chunk.bytes, numRows, rowBytes, source);
    } else {
      bytes = piece.pack(chunk.bytes);
    }
    if (weight.isVector) {
      // The pieces of a fused vector stand one after another; all but the last fill whole vec4s or are written as words.
      const target = buffers[0]!.get(piece.section)!;
      device.queue.writeBuffer(target, vectorOffset(weight, chunk.tensor.name), bytes);
      return bytes.length;
    }
    const isConverted = source !== weight.format;
    const isWhole = piece.lies === 'rows' && !piece.isPartial && stride === 1 && !isConverted;
    const staged = isWhole ? undefined : stage(bytes);
    for (const part of parts) {
      // Rows r of the chunk with part.begin <= first + (firstRow + r) * stride < part.begin + part.rows.
      const rowAt = (position: number): number => Math.ceil((position - first) / stride) - firstRow;
      const begin = Math.max(0, rowAt(part.begin));
      const end = Math.min(numRows, rowAt(part.begin + part.rows));
      if (begin >= end) continue;
      const count = end - begin;
      const sections = buffers[part.index]!;
      const target = sections.get(piece.section)!;
      const at = first + (firstRow + begin) * stride - part.begin;
      if (!staged) {
        device.queue.writeBuffer(target, at * rowBytes, bytes.subarray(begin * rowBytes, end * rowBytes));
        continue;
      }
      if (isConverted) {
        converter.convert(
          {
            name: chunk.tensor.name,
            source,
            target: weight.format,
            cols: weight.cols,
            rows: count,
            firstSourceRow: begin,
            firstRow: at,
            rowStep: stride,
          },
          staged,
          (section) => sections.get(section)!,
        );
        continue;
      }
      const rowWords = rowBytes / 4;
      const dstRow = { first: at * rowWords, step: stride * rowWords };
      if (piece.lies === 'rows') {
        scatter.move(staged, target, {
          majors: { count, src: rowWords, dst: dstRow.step },
          minors: { count: rowWords, dst: 1 },
          first: { src: begin * rowWords, dst: dstRow.first },
        });
      } else if (piece.lies === 'columns') {
        scatter.move(staged, target, {
          majors: { count: bytes.length / 4 / rows, src: rows, dst: 1 },
          minors: { count, dst: dstRow.step },
          first: { src: begin, dst: dstRow.first + chunk.firstRow / piece.storedPerWord },
        });
      } else {
        scatter.move(staged, target, {
          majors: { count, src: 0, dst: dstRow.step },
          minors: { count: bytes.length / 4, dst: 1 },
          first: { src: 0, dst: dstRow.first + piece.firstWord },
        });
      }
    }
    return bytes.length;
  }

  return {
    flush,
    conversionErrors: converter.errors,
    async write(place, chunk) {
      inFlight += put(place, chunk);
      gauge.sample(inFlight);
      if (inFlight >= IN_FLIGHT_BYTES) await flush();
    },
    dispose() {
      for (const { dispose } of [scatter, converter, staging]) dispose();
    },
  };
}

/** Where a piece of a fused vector starts, in bytes. */
function vectorOffset(weight: Weight, name: string): number {
  let values = 0;
  for (let i = 0; weight.names[i] !== name; i++) values += weight.rowsOf[i]!;
  return values * 4;
}
