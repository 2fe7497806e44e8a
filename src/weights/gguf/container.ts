/**
 * @file The GGUF container: magic, version, metadata, the list of tensors, their bytes. Every field is taken as hostile. It must not
 * know what metadata or tensors are for.
 * Format: ggml, docs/gguf.md (version 3; 2 is laid out alike).
 */
import { CorruptCheckpointError } from '../../errors.ts';
import { quoted } from '../json.ts';
import { layoutOf, type TensorType } from './types.ts';

export type MetadataValue = number | bigint | boolean | string | readonly MetadataValue[];
export type Metadata = ReadonlyMap<string, MetadataValue>;

/** A tensor's place in its file: `begin` and `end` count from the start of the file. */
export interface GgufTensor {
  name: string;
  dtype: TensorType;
  /** Outermost first, as Hugging Face writes shapes. */
  shape: number[];
  begin: number;
  end: number;
}

export interface GgufHeader {
  metadata: Metadata;
  tensors: GgufTensor[];
}

/** The header goes on behind the bytes that are there. */
export class MoreBytesNeeded extends Error {}

const MAGIC = 0x46554747; // "GGUF", little-endian
const AGAIN = 'Download the file again.';
/** The least that a key with its value, and a tensor's entry, take. */
const LEAST_KEY_BYTES = 13;
const LEAST_TENSOR_BYTES = 24;
const MAX_DIMS = 4;
const DEFAULT_ALIGNMENT = 32;
const MAX_ARRAY_VALUES = 2 ** 22;

const ALIGNMENT_KEY = 'general.alignment';

const UINT32 = 4;
const STRING = 8;
const ARRAY = 9;

interface Scalar {
  readonly bytes: number;
  read(view: DataView, at: number): number | bigint | boolean;
}

/** By the number of the type. */
const SCALARS: Readonly<Record<number, Scalar>> = {
  0: { bytes: 1, read: (view, at) => view.getUint8(at) },
  1: { bytes: 1, read: (view, at) => view.getInt8(at) },
  2: { bytes: 2, read: (view, at) => view.getUint16(at, true) },
  3: { bytes: 2, read: (view, at) => view.getInt16(at, true) },
  4: { bytes: 4, read: (view, at) => view.getUint32(at, true) },
  5: { bytes: 4, read: (view, at) => view.getInt32(at, true) },
  6: { bytes: 4, read: (view, at) => view.getFloat32(at, true) },
  7: { bytes: 1, read: (view, at) => view.getUint8(at) !== 0 },
  10: { bytes: 8, read: (view, at) => exact(view.getBigUint64(at, true)) },
  11: { bytes: 8, read: (view, at) => exact(view.getBigInt64(at, true)) },
  12: { bytes: 8, read: (view, at) => view.getFloat64(at, true) },
};

/** Whether a file is a GGUF, by its first bytes. */
export const isGguf = (start: Uint8Array): boolean =>
  start.length >= 4 && new DataView(start.buffer, start.byteOffset).getUint32(0, true) === MAGIC;

/**
 * Reads a header.
 * @param start the first bytes of the file
 * @param size the file's size in bytes, where it is known
 * @param where the file, as messages should name it
 * @throws MoreBytesNeeded when the header is longer than `start`
 * @throws CorruptCheckpointError | UnsupportedConfigError
 */
export function parseHeader(start: Uint8Array, size: number | undefined, where: string): GgufHeader {
  const reader = new Reader(start, size, where);
  checkVersion(reader, start);
  const numTensors = reader.count(LEAST_TENSOR_BYTES, 'tensors');
  const numKeys = reader.count(LEAST_KEY_BYTES, 'keys');
  // The header's end first: what is in it is only read when all of it is there.
  const metadataBegin = reader.at;
  for (let i = 0; i < numKeys; i++) {
    reader.skipString();
    skipValue(reader);
  }
  const tensorsBegin = reader.at;
  for (let i = 0; i < numTensors; i++) skipTensor(reader);
  const headerEnd = reader.at;
  reader.at = metadataBegin;
  const metadata = readMetadata(reader, numKeys);
  reader.at = tensorsBegin;
  const alignment = alignmentOf(metadata, where);
  const dataBegin = alignedUp(headerEnd, alignment);
  return { metadata, tensors: readTensors(reader, numTensors, dataBegin, alignment) };
}

const alignedUp = (n: number, alignment: number): number => Math.ceil(n / alignment) * alignment;

/** Little-endian values one after another; nothing is read behind the end of the file. */
class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly size: number | undefined;
  readonly where: string;
  at = 0;

  constructor(bytes: Uint8Array, size: number | undefined, where: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.size = size;
    this.where = where;
  }

  fail(message: string): CorruptCheckpointError {
    return new CorruptCheckpointError(`${this.where}: ${message} ${AGAIN}`);
  }

  /** Goes on by `bytes`. @returns where they begin */
  take(bytes: number): number {
    const begin = this.at;
    const end = begin + bytes;
    if (this.size !== undefined && end > this.size) {
      throw this.fail(
        `the file has ${this.size} bytes, and its header goes on at least to byte ${end}: it is truncated.`,
      );
    }
    if (end > this.#bytes.length) throw new MoreBytesNeeded();
    this.at = end;
    return begin;
  }

  u32(): number {
    return this.#view.getUint32(this.take(4), true);
  }

  /** A u64 as a number; more than 2^53 is inexact, and far more than a file has bytes. */
  u64(): number {
    const at = this.take(8);
    return this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 2 ** 32;
  }

  /** How many of something follow, each of at least so many bytes. */
  count(leastBytes: number, what: string): number {
    const count = this.u64();
    const left = (this.size ?? Number.MAX_SAFE_INTEGER) - this.at;
    if (count * leastBytes <= left) return count;
    throw this.fail(`its header speaks of ${count} ${what}, and there are ${left} bytes left for them.`);
  }

  skipString(): void {
    this.take(this.count(1, 'bytes of text'));
  }

  string(): string {
    const length = this.u64();
    const begin = this.take(length);
    try {
      return TEXT.decode(this.#bytes.subarray(begin, begin + length));
    } catch {
      throw this.fail(`the text at byte ${begin} of its header is no UTF-8.`);
    }
  }

  scalar({ bytes, read }: Scalar): number | bigint | boolean {
    return read(this.#view, this.take(bytes));
  }
}

/** U+FEFF is a token of some vocabularies. */
const TEXT = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true });

const exact = (value: bigint): number | bigint =>
  Number.isSafeInteger(Number(value)) ? Number(value) : value;

function checkVersion(reader: Reader, start: Uint8Array): void {
  if (reader.u32() !== MAGIC) {
    const text = String.fromCharCode(...start.subarray(0, 16)).replace(/[^ -~]/g, '.');
    const what = text.startsWith('version ')
      ? 'this is a Git LFS pointer, not the weights'
      : text.startsWith('<')
        ? 'this is a web page, not the weights'
        : 'this is not a GGUF file';
    throw new CorruptCheckpointError(
      `${reader.where}: ${what}: it begins with ${JSON.stringify(text)}, wanted "GGUF". ${AGAIN}`,
    );
  }
  const version = reader.u32();
  if (version === 2 || version === 3) return;
  const what =
    version % 2 ** 16 === 0 ? 'it is big-endian' : `it is of version ${version}; versions 2 and 3 are read`;
  throw new CorruptCheckpointError(`${reader.where}: ${what}. Convert the model again with a current tool.`);
}

/** What a value or the values of an array are; undefined: strings. */
function scalarOf(reader: Reader, type: number): Scalar | undefined {
  const scalar = SCALARS[type];
  if (!scalar && type !== STRING) {
    const what =
      type === ARRAY ? 'an array of arrays, which no GGUF has' : `of type ${type}, which is not known`;
    throw reader.fail(`a value of its metadata is ${what}.`);
  }
  return scalar;
}

function readArrayHead(reader: Reader): { scalar: Scalar | undefined; count: number } {
  const scalar = scalarOf(reader, reader.u32());
  const count = reader.count(scalar?.bytes ?? 8, 'values of an array');
  if (count > MAX_ARRAY_VALUES) {
    throw reader.fail(`an array of its metadata has ${count} values, more than any vocabulary.`);
  }
  return { scalar, count };
}

function skipValue(reader: Reader): void {
  const type = reader.u32();
  if (type !== ARRAY) {
    const scalar = scalarOf(reader, type);
    if (scalar) reader.take(scalar.bytes);
    else reader.skipString();
    return;
  }
  const { scalar, count } = readArrayHead(reader);
  if (scalar) reader.take(count * scalar.bytes);
  else for (let i = 0; i < count; i++) reader.skipString();
}

function readValue(reader: Reader): MetadataValue {
  const type = reader.u32();
  const one = (scalar: Scalar | undefined) => (scalar ? reader.scalar(scalar) : reader.string());
  if (type !== ARRAY) return one(scalarOf(reader, type));
  const { scalar, count } = readArrayHead(reader);
  return Array.from({ length: count }, () => one(scalar));
}

function readMetadata(reader: Reader, count: number): Metadata {
  const metadata = new Map<string, MetadataValue>();
  for (let i = 0; i < count; i++) {
    const key = reader.string();
    if (metadata.has(key)) throw reader.fail(`its metadata has the key ${quoted(key)} twice.`);
    if (key === ALIGNMENT_KEY) checkAlignmentType(reader);
    metadata.set(key, readValue(reader));
  }
  return metadata;
}

/** The next value is a u32. */
function checkAlignmentType(reader: Reader): void {
  const type = reader.u32();
  if (type !== UINT32) throw reader.fail(`${ALIGNMENT_KEY} is of type ${type}, wanted ${UINT32} (uint32).`);
  reader.at -= 4;
}

function alignmentOf(metadata: Metadata, where: string): number {
  const found = metadata.get(ALIGNMENT_KEY) ?? DEFAULT_ALIGNMENT;
  const isPowerOfTwo =
    typeof found === 'number' && found >= 1 && found < 2 ** 31 && (found & (found - 1)) === 0;
  if (isPowerOfTwo) return found;
  throw new CorruptCheckpointError(
    `${where}: ${ALIGNMENT_KEY} is ${String(found)}, wanted a power of two. ${AGAIN}`,
  );
}

function skipTensor(reader: Reader): void {
  reader.skipString();
  reader.take(8 * numDims(reader) + 12);
}

function numDims(reader: Reader): number {
  const count = reader.u32();
  if (count >= 1 && count <= MAX_DIMS) return count;
  throw reader.fail(`a tensor has ${count} dimensions, wanted 1 to ${MAX_DIMS}.`);
}

function readTensors(reader: Reader, count: number, dataBegin: number, alignment: number): GgufTensor[] {
  const tensors = Array.from({ length: count }, () => readTensor(reader, dataBegin, alignment));
  const names = new Set<string>();
  for (const { name } of tensors) {
    if (names.has(name)) throw reader.fail(`it has the tensor ${quoted(name)} twice.`);
    names.add(name);
  }
  const byPlace = [...tensors].sort((a, b) => a.begin - b.begin);
  for (const [i, tensor] of byPlace.entries()) {
    const before = byPlace[i - 1];
    if (before && tensor.begin < before.end) {
      throw reader.fail(`the tensors ${quoted(before.name)} and ${quoted(tensor.name)} overlap.`);
    }
  }
  return tensors;
}

function readTensor(reader: Reader, dataBegin: number, alignment: number): GgufTensor {
  const name = reader.string();
  // Stored innermost first.
  const shape = Array.from({ length: numDims(reader) }, () => reader.u64()).reverse();
  const layout = layoutOf(reader.u32(), name, reader.where);
  const offset = reader.u64();
  const values = shape.reduce((a, b) => a * b, 1);
  const fail = (message: string): CorruptCheckpointError =>
    reader.fail(`the tensor ${quoted(name)} [${shape}] ${message}.`);
  if (values > Number.MAX_SAFE_INTEGER) throw fail('has more values than any file');
  if (shape.at(-1)! % layout.values !== 0) {
    throw fail(`is of type ${layout.name}, whose rows are blocks of ${layout.values} values`);
  }
  if (offset % alignment !== 0) throw fail(`begins at ${offset}, which is no multiple of ${alignment}`);
  const begin = dataBegin + offset;
  const end = begin + (values / layout.values) * layout.bytes;
  if (reader.size !== undefined && end > reader.size) {
    throw fail(`ends at byte ${end}, and the file has ${reader.size} bytes: it is truncated`);
  }
  return { name, dtype: layout.name, shape, begin, end };
}
