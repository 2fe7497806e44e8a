/**
 * @file Weights from a checkpoint to the GPU: streams tensors in file order through a small staging chunk, packs rows into
 * their format, and puts them where the graph wants them (stacked or in turn, split over buffers). The JS heap never
 * holds more than the chunk. Knows tensors and formats; it must not know models.
 */
import { WeightMismatchError } from '../errors.ts';
import { allocate } from '../gpu/buffers.ts';
import type { GpuContext } from '../gpu/device.ts';
import { splitRows, type WeightPart } from '../gpu/kernel.ts';
import type { Weight } from '../graph/weight.ts';
import { createProgress, type LoadProgress } from '../sources/progress.ts';
import type { Checkpoint, TensorEntry } from './checkpoint.ts';
import type { ConversionError } from './convert.ts';
import { formats } from './formats.ts';
import { holderOf, vectorHolder } from './held.ts';
import { createLoadGauge, type LoadReport } from './load-gauge.ts';
import { widen } from './pack.ts';
import { chunksOfRows, type RowSizes } from './row-chunks.ts';
import { findStored, isPlain, type StoredCheckpoint } from './stored.ts';
import type { CheckedPiece } from './stored-matrix.ts';
import { type Place, type WeightBuffers, Writer } from './writer.ts';

export interface GpuWeights {
  buffer(weight: Weight, section: string, part: WeightPart): GPUBuffer;
  readonly bytes: number;
  /** Of weights that were converted while they loaded. */
  readonly conversionErrors: readonly ConversionError[];
  /** Releases every buffer. */
  dispose(): void;
}

export interface UploadedWeights extends GpuWeights {
  readonly report: LoadReport;
}

export interface UploadOptions {
  signal?: AbortSignal;
  onProgress?: (progress: LoadProgress) => void;
  /** Bytes of checkpoint held at a time. */
  chunkBytes?: number;
}

const CHUNK_BYTES = 4 << 20;

/** Allocates and fills every weight. On error or abort everything allocated here is released. */
export async function uploadWeights(
  gpu: GpuContext,
  checkpoint: StoredCheckpoint & Pick<Checkpoint, 'source'>,
  weights: Iterable<Weight>,
  { signal, onProgress, chunkBytes = CHUNK_BYTES }: UploadOptions = {},
): Promise<UploadedWeights> {
  const gauge = createLoadGauge(gpu.buffers);
  const parts = new Map<string, WeightBuffers>();
  const places = new Map<string, Place[]>();
  const wanted: TensorEntry[] = [];
  const find = findStored(checkpoint);
  const everyWeight = [...weights];
  const claimed = claimedVectors(checkpoint, everyWeight);
  let bytes = 0;
  const dispose = (): void => {
    for (const { buffers } of parts.values())
      for (const sections of buffers) for (const buffer of sections.values()) gpu.buffers.destroy(buffer);
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
        parts.set(weight.key, { parts: split, buffers });
        let before = 0;
        weight.rowsOf.forEach((rows, i) => {
          // Names that take turns begin together; the next ones begin behind the rows of all of them.
          const turn = i % weight.interleave;
          const { pieces, format } = find(weight, i);
          // Widening to f32 is packing; the GPU makes everything else of plain rows.
          const isPacked = weight.isVector || weight.format === formats.f32 || !isPlain(format);
          const source = isPacked ? weight.format : format;
          for (const piece of [...pieces, ...unclaimedBias(checkpoint, weight, i, claimed)]) {
            const place = { weight, piece, source, rows, first: before + turn, stride: weight.interleave };
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
    const bytesToRead = wanted.reduce((sum, t) => sum + t.end - t.begin, 0);
    const progress = createProgress(bytesToRead, wanted.length, onProgress);
    const sizesOf = ({ name }: TensorEntry): RowSizes => {
      const sizes = places.get(name)!.map(sizesOfPlace);
      return {
        packedBytes: Math.max(...sizes.map((size) => size.packedBytes)),
        together: Math.max(...sizes.map((size) => size.together)),
      };
    };
    const writer = new Writer(gpu, (weight) => parts.get(weight.key)!, gauge);
    let conversionErrors: ConversionError[];
    try {
      for await (const rows of chunksOfRows(checkpoint, wanted, chunkBytes, sizesOf, signal)) {
        signal?.throwIfAborted();
        for (const place of places.get(rows.tensor.name)!) await writer.write(place, rows);
        progress.addBytes(rows.bytes.length);
        if (rows.isLast) progress.addTensor();
      }
      await writer.flush();
      conversionErrors = await writer.conversionErrors();
      signal?.throwIfAborted();
    } finally {
      writer.dispose();
    }
    gpu.throwIfFaulty();
    return {
      bytes,
      conversionErrors,
      report: gauge.report(bytesToRead),
      dispose,
      buffer: (weight, section, part) =>
        parts.get(weight.key)!.buffers[weight.isVector ? 0 : part.index]!.get(section)!,
    };
  } catch (error) {
    dispose();
    throw error;
  }
}

function sizesOfPlace({ weight, piece, source, rows }: Place): RowSizes {
  switch (piece.lies) {
    case 'rows': {
      const section = source.sections.find(({ name }) => name === piece.section)!;
      return { packedBytes: section.rowBytes(weight.cols) * piece.rowsPerStored, together: 1 };
    }
    case 'columns':
      return { packedBytes: Math.ceil((rows * 4) / piece.storedPerWord), together: piece.storedPerWord };
    default:
      return { packedBytes: 0, together: 1 };
  }
}

/** The tensors that vectors are read from, by name. */
export function claimedVectors(
  { tensors }: Pick<Checkpoint, 'tensors'>,
  weights: readonly Weight[],
): ReadonlySet<string | undefined> {
  const vectors = weights.filter(({ isVector }) => isVector);
  return new Set(
    vectors.flatMap((vector) => vector.names.map((_, i) => vectorHolder(tensors, vector, i)?.name)),
  );
}

/** A bias beside matrix `index` that no op adds, as GPTQ checkpoints have them: it must be nothing but zeros. */
export function unclaimedBias(
  { tensors }: Pick<Checkpoint, 'tensors'>,
  weight: Weight,
  index: number,
  claimed: ReadonlySet<string | undefined>,
): CheckedPiece[] {
  const bias = weight.isVector ? undefined : holderOf(tensors, weight, index).tensor('bias');
  if (!bias || claimed.has(bias.name)) return [];
  const check = (bytes: Uint8Array<ArrayBuffer>): void => {
    if (widen(bias.dtype, bytes).every((value) => value === 0)) return;
    throw new WeightMismatchError(
      `${bias.name} is not zero, and the model that config.json describes has no bias there. Check that config.json belongs to these weights.`,
    );
  };
  return [{ lies: 'nowhere', tensor: bias, check }];
}
