/**
 * @file Rows of stored tensors to the parts of the weights that they belong to: as they are, word by word, or converted. Waits
 * for the GPU when too much is in flight. Knows formats and buffers; it must not know files.
 */
import type { GpuContext } from '../gpu/device.ts';
import type { WeightPart } from '../gpu/kernel.ts';
import type { Weight, WeightFormat } from '../graph/weight.ts';
import type { ConversionError, Converter } from './convert.ts';
import type { LoadGauge } from './load-gauge.ts';
import type { RowChunk } from './row-chunks.ts';
import { createScatter, type Scatter, type WordMoves } from './scatter.ts';
import type { CheckedPiece, Piece } from './stored-matrix.ts';
import { createGrowingBuffer, type GrowingBuffer } from './upload-pass.ts';

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

/** What a chunk has of a piece that is written. */
interface PackedRows {
  /** Those of the piece: `firstRow` is a row of the piece, `numRows` are from there on. */
  firstRow: number;
  numRows: number;
  bytes: Uint8Array<ArrayBuffer>;
}

/** Some rows of what is staged, and where in a part of the weight they go. */
interface PartRows {
  target: GPUBuffer;
  /** The first row of the staged ones, and how many. */
  begin: number;
  count: number;
  /** The row of the part that the first goes to. */
  at: number;
  stride: number;
}

export class Writer {
  readonly #gpu: GpuContext;
  readonly #device: GPUDevice;
  readonly #buffersOf: (weight: Weight) => WeightBuffers;
  readonly #gauge: LoadGauge;
  readonly #scatter: Scatter;
  /** Made for the first rows that are converted. */
  #converter: Converter | undefined;
  readonly #staging: GrowingBuffer;
  #inFlight = 0;

  constructor(gpu: GpuContext, buffersOf: (weight: Weight) => WeightBuffers, gauge: LoadGauge) {
    this.#gpu = gpu;
    this.#device = gpu.device;
    this.#buffersOf = buffersOf;
    this.#gauge = gauge;
    this.#scatter = createScatter(gpu);
    this.#staging = createGrowingBuffer(gpu, 'staging of weights');
  }

  /** Takes the chunk's bytes before it resolves. One at a time: all share a staging buffer. */
  async write(place: Place, chunk: RowChunk): Promise<void> {
    this.#inFlight += await this.#put(place, chunk);
    this.#gauge.sample(this.#inFlight);
    if (this.#inFlight >= IN_FLIGHT_BYTES) await this.flush();
  }

  /** Waits until everything is done. */
  async flush(): Promise<void> {
    this.#device.queue.submit([]);
    await this.#device.queue.onSubmittedWorkDone();
    this.#inFlight = 0;
  }

  async conversionErrors(): Promise<ConversionError[]> {
    return this.#converter?.errors() ?? [];
  }

  dispose(): void {
    for (const one of [this.#scatter, this.#converter, this.#staging]) one?.dispose();
  }

  /** Writes what a chunk has of a piece, and tells how many bytes that were. */
  async #put(place: Place, chunk: RowChunk): Promise<number> {
    const { weight, piece, source, first, stride } = place;
    if (piece.lies === 'nowhere') {
      piece.check(chunk.bytes);
      return 0;
    }
    const { parts, buffers } = this.#buffersOf(weight);
    const rowBytes = source.sections.find((s) => s.name === piece.section)!.rowBytes(weight.cols);
    const { firstRow, numRows, bytes } = packedRows(place, piece, chunk, rowBytes);
    if (weight.isVector) {
      const target = buffers[0]!.get(piece.section)!;
      if (stride > 1) {
        await this.#scatter.move(this.#stage(bytes), target, inTurn(bytes.length / 4, first, stride));
        return bytes.length;
      }
      // The pieces of a fused vector stand one after another; all but the last fill whole vec4s or are written as words.
      this.#device.queue.writeBuffer(target, vectorOffset(weight, chunk.tensor.name), bytes);
      return bytes.length;
    }
    const isConverted = source !== weight.format;
    const isWhole = piece.lies === 'rows' && !piece.isPartial && stride === 1 && !isConverted;
    const staged = isWhole ? undefined : this.#stage(bytes);
    for (const part of parts) {
      // Rows r of the chunk with part.begin <= first + (firstRow + r) * stride < part.begin + part.rows.
      const rowAt = (position: number): number => Math.ceil((position - first) / stride) - firstRow;
      const begin = Math.max(0, rowAt(part.begin));
      const end = Math.min(numRows, rowAt(part.begin + part.rows));
      if (begin >= end) continue;
      const sections = buffers[part.index]!;
      const target = sections.get(piece.section)!;
      const at = first + (firstRow + begin) * stride - part.begin;
      const rows: PartRows = { target, begin, count: end - begin, at, stride };
      if (!staged) {
        const range = bytes.subarray(begin * rowBytes, end * rowBytes);
        this.#device.queue.writeBuffer(target, at * rowBytes, range);
      } else if (isConverted) await this.#convert(place, chunk, rows, staged, sections);
      else await this.#scatter.move(staged, target, movesOf(piece, chunk, place, rows, bytes, rowBytes / 4));
    }
    return bytes.length;
  }

  #stage(bytes: Uint8Array<ArrayBuffer>): GPUBuffer {
    const buffer = this.#staging.atLeast(bytes.length);
    this.#device.queue.writeBuffer(buffer, 0, bytes);
    return buffer;
  }

  async #convert(
    { weight, source }: Place,
    { tensor }: RowChunk,
    { begin, count, at, stride }: PartRows,
    staged: GPUBuffer,
    sections: ReadonlyMap<string, GPUBuffer>,
  ): Promise<void> {
    const rows = {
      name: tensor.name,
      source,
      target: weight.format,
      cols: weight.cols,
      rows: count,
      firstSourceRow: begin,
      firstRow: at,
      rowStep: stride,
    };
    this.#converter ??= (await import('./convert.ts')).createConverter(this.#gpu);
    return this.#converter.convert(rows, staged, (section) => sections.get(section)!);
  }
}

type WrittenPiece = Exclude<Piece, CheckedPiece>;

function packedRows(
  { source, rows }: Place,
  piece: WrittenPiece,
  chunk: RowChunk,
  rowBytes: number,
): PackedRows {
  if (piece.lies !== 'rows') return { firstRow: 0, numRows: rows, bytes: piece.pack(chunk.bytes) };
  const firstRow = chunk.firstRow * piece.rowsPerStored;
  const numRows = Math.min(chunk.numRows * piece.rowsPerStored, rows - firstRow);
  return { firstRow, numRows, bytes: piece.pack(chunk.bytes, numRows, rowBytes, source) };
}

/** How staged words go to the rows of a part. */
function movesOf(
  piece: WrittenPiece,
  chunk: RowChunk,
  { rows }: Place,
  { begin, count, at, stride }: PartRows,
  bytes: Uint8Array,
  rowWords: number,
): WordMoves {
  const dstRow = { first: at * rowWords, step: stride * rowWords };
  switch (piece.lies) {
    case 'rows':
      return {
        majors: { count, src: rowWords, dst: dstRow.step },
        minors: { count: rowWords, dst: 1 },
        first: { src: begin * rowWords, dst: dstRow.first },
      };
    case 'columns':
      return {
        majors: { count: bytes.length / 4 / rows, src: rows, dst: 1 },
        minors: { count, dst: dstRow.step },
        first: { src: begin, dst: dstRow.first + chunk.firstRow / piece.storedPerWord },
      };
    case 'everyRow':
      return {
        majors: { count, src: 0, dst: dstRow.step },
        minors: { count: bytes.length / 4, dst: 1 },
        first: { src: 0, dst: dstRow.first + piece.firstWord },
      };
    default:
      return piece satisfies never;
  }
}

/** Words that go to every `stride`-th place from `first` on. */
const inTurn = (count: number, first: number, stride: number): WordMoves => ({
  majors: { count, src: 1, dst: stride },
  minors: { count: 1, dst: 1 },
  first: { src: 0, dst: first },
});

/** Where a piece of a fused vector starts, in bytes. */
function vectorOffset(weight: Weight, name: string): number {
  let values = 0;
  for (let i = 0; weight.names[i] !== name; i++) values += weight.rowsOf[i]!;
  return values * 4;
}
