/**
 * @file What tensors of a problem hold, as words of their buffers: dense rows in and out of strides, and positions of sequences in and
 * out of the blocks of a pool.
 */
import { BLOCK_LENGTH } from '../../src/graph/batch.ts';
import { baseOf, rowSize, type Tensor, tensorBytes } from '../../src/graph/graph.ts';
import { dequantize, quantizeHead } from '../reference/kv-cache.ts';
import { POISON, type Pool } from './batch.ts';
import { f16Bits, f16Value } from './f16.ts';

export type Data = Float32Array | Uint32Array;

const POISON_F16 = 0x7e0d;

export const isCache = (t: Tensor): boolean => baseOf(t).role?.kind === 'kv';
const groupOf = (t: Tensor): number => {
  const { role } = baseOf(t);
  return role?.kind === 'kv' ? role.group : 0;
};

/** A buffer of `copies` such tensors, one behind the other. */
export function poisoned(base: Tensor, copies: number): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(Math.max(4, Math.ceil((tensorBytes(base) * copies) / 16) * 4));
  return words.fill(base.dtype === 'f16' ? POISON_F16 | (POISON_F16 << 16) : POISON);
}

function write(image: Uint32Array<ArrayBuffer>, { dtype }: Tensor, at: number, value: number): void {
  if (dtype === 'u32') image[at] = value;
  else if (dtype === 'f32') new Float32Array(image.buffer)[at] = value;
  else new Uint16Array(image.buffer)[at] = f16Bits(value);
}

/** Dense rows, as many as there is data for. */
export function writeRows(image: Uint32Array<ArrayBuffer>, t: Tensor, data: Data): void {
  const cols = rowSize(t);
  const floats = new Float32Array(image.buffer);
  for (let r = 0; r * cols < data.length; r++) {
    const at = t.offset + r * t.rowStride;
    const row = data.subarray(r * cols, (r + 1) * cols);
    if (t.dtype === 'u32') image.set(row, at);
    else if (t.dtype === 'f32') floats.set(row, at);
    else
      row.forEach((value, c) => {
        write(image, t, at + c, value);
      });
  }
}

export function readRows(words: Uint32Array<ArrayBuffer>, t: Tensor, rows = t.shape[0]!): Data {
  const cols = rowSize(t);
  const floats = new Float32Array(words.buffer);
  const halves = new Uint16Array(words.buffer);
  const out = t.dtype === 'u32' ? new Uint32Array(rows * cols) : new Float32Array(rows * cols);
  for (let r = 0; r < rows; r++) {
    const at = t.offset + r * t.rowStride;
    if (t.dtype === 'f16') for (let c = 0; c < cols; c++) out[r * cols + c] = f16Value(halves[at + c]!);
    else out.set((t.dtype === 'u32' ? words : floats).subarray(at, at + cols), r * cols);
  }
  return out;
}

interface Place {
  /** Of the row's first value, in elements. */
  at: number;
  /** Of its scales, in words. */
  scalesAt: number;
}

/** Where a position of a block of the pool lies. */
function placeOf(t: Tensor, block: number, position: number): Place {
  const base = baseOf(t);
  const row = position % BLOCK_LENGTH;
  const bytes = block * tensorBytes(base);
  const element = { f32: 4, u32: 4, f16: 2, int8: 1 }[base.dtype];
  return {
    at: bytes / element + t.offset + row * t.rowStride,
    scalesAt: (bytes + BLOCK_LENGTH * base.rowStride) / 4 + row * base.shape[1]!,
  };
}

function writePosition(
  image: Uint32Array<ArrayBuffer>,
  t: Tensor,
  { at, scalesAt }: Place,
  row: Float32Array,
): void {
  if (t.dtype !== 'int8') {
    row.forEach((value, i) => {
      write(image, t, at + i, value);
    });
    return;
  }
  const headDim = t.shape[2]!;
  for (let head = 0; head < t.shape[1]!; head++) {
    const { scale, integers } = quantizeHead(row.subarray(head * headDim, (head + 1) * headDim));
    new Int8Array(image.buffer).set(integers, at + head * headDim);
    new Float32Array(image.buffer)[scalesAt + head] = scale;
  }
}

/** Positions of each sequence from 0 on; those without a block, whose data must not matter, are left out. */
export function writeCache(
  image: Uint32Array<ArrayBuffer>,
  t: Tensor,
  pool: Pool,
  sequences: readonly Float32Array[],
): void {
  const cols = rowSize(t);
  sequences.forEach((data, s) => {
    for (let position = 0; position * cols < data.length; position++) {
      const block = pool.tables[groupOf(t)]![s]![Math.floor(position / BLOCK_LENGTH)];
      if (block === undefined) continue;
      const row = data.subarray(position * cols, (position + 1) * cols);
      writePosition(image, t, placeOf(t, block, position), row);
    }
  });
}

/** By sequence: its positions up to the end of its last block, NaN where it has none. */
export function readCache(words: Uint32Array<ArrayBuffer>, t: Tensor, pool: Pool): Float32Array[] {
  const cols = rowSize(t);
  const floats = new Float32Array(words.buffer);
  const halves = new Uint16Array(words.buffer);
  const integers = new Int8Array(words.buffer);
  return pool.tables[groupOf(t)]!.map((table) => {
    const out = new Float32Array(table.length * BLOCK_LENGTH * cols).fill(Number.NaN);
    for (let position = 0; position < table.length * BLOCK_LENGTH; position++) {
      const block = table[Math.floor(position / BLOCK_LENGTH)];
      if (block === undefined) continue;
      const { at, scalesAt } = placeOf(t, block, position);
      for (let c = 0; c < cols; c++) {
        let value: number;
        if (t.dtype === 'f32') value = floats[at + c]!;
        else if (t.dtype === 'f16') value = f16Value(halves[at + c]!);
        else value = dequantize(integers[at + c]!, floats[scalesAt + Math.floor(c / t.shape[2]!)]!);
        out[position * cols + c] = value;
      }
    }
    return out;
  });
}

/** Throws when something was written to a block that nobody has in the tensor's group. */
export function expectOthersUntouched(
  before: Uint32Array,
  after: Uint32Array,
  t: Tensor,
  pool: Pool,
  label: string,
): void {
  const own = new Set(pool.tables[groupOf(t)]!.flat());
  const blockWords = tensorBytes(baseOf(t)) / 4;
  for (let block = 0; block < pool.numBlocks; block++) {
    if (own.has(block)) continue;
    for (let i = block * blockWords; i < (block + 1) * blockWords; i++) {
      if (before[i] !== after[i])
        throw new Error(`${label}: wrote to block ${block} of ${t.name}, which nobody has`);
    }
  }
}
