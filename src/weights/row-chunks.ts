/**
 * @file The stream of a checkpoint's tensors, cut into chunks of whole rows that one small buffer holds. It must not know
 * formats or the GPU.
 */
import { type Checkpoint, streamTensors, type TensorEntry } from './checkpoint.ts';

/** What packing makes of the rows of a tensor: the most bytes of one row, and how many rows must come together. */
export interface RowSizes {
  packedBytes: number;
  together: number;
}

/** Whole rows of a tensor. `bytes` is valid until the next chunk. */
export interface RowChunk {
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
export async function* chunksOfRows(
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
