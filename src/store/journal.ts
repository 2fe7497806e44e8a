/**
 * @file Append-only journals: one record a line, each with a checksum, so that a line that was cut off by a crash, or damaged, is
 * ignored and all others count. It knows the records of a file and its chunks; it must not know where journals are kept.
 */
import type { WholeHash } from '../sources/hub-listing.ts';

export interface FileDescription {
  size: number;
  /** The bytes of every chunk but the last. */
  chunkBytes: number;
  /** If the server gives one. */
  hash?: WholeHash | undefined;
}

/** What happened to a file, in order. */
export type FileRecord =
  | { file: FileDescription }
  | { chunk: number; sha256: string }
  /** A chunk was damaged or gone. Its checksum is still the one it must have. */
  | { lost: number }
  /** All chunks were there, and together had the hash that the server announced. Has the `digestOf` their checksums. */
  | { verified: string }
  /** They had another hash: none of them counts. */
  | { reset: true };

export interface FileState {
  readonly description: FileDescription;
  /** The sha256 of each chunk, if known. */
  readonly hashes: (string | undefined)[];
  /** Chunks that are there as far as the journal knows. */
  readonly present: Set<number>;
  isVerified: boolean;
}

const encoder = new TextEncoder();

/** A line of its own wherever it is appended, even after one that was cut off. */
export function encodeRecord(record: object): Uint8Array {
  const json = JSON.stringify(record);
  return encoder.encode(`\n${checksum(json)} ${json}\n`);
}

/** The records of whole lines; everything else in the bytes is ignored. */
export function decodeRecords(bytes: Uint8Array): object[] {
  const records: object[] = [];
  for (const line of new TextDecoder().decode(bytes).split('\n')) {
    const json = line.slice(9);
    if (json !== '' && line.startsWith(`${checksum(json)} `)) records.push(JSON.parse(json) as object);
  }
  return records;
}

/** CRC-32 of the text's UTF-8: it detects cut off and damaged lines, not changes on purpose. */
function checksum(text: string): string {
  let crc = -1;
  for (const byte of encoder.encode(text)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (~crc >>> 0).toString(16).padStart(8, '0');
}

/** @returns undefined when the journal does not say which file it is about */
export function readFileState(records: readonly object[]): FileState | undefined {
  let state: FileState | undefined;
  for (const record of records as FileRecord[]) {
    if ('file' in record)
      state ??= { description: record.file, hashes: [], present: new Set(), isVerified: false };
    else if (state) applyRecord(state, record);
  }
  return state;
}

export function applyRecord(state: FileState, record: Exclude<FileRecord, { file: FileDescription }>): void {
  if ('chunk' in record) {
    if (record.chunk < numChunks(state.description)) {
      state.hashes[record.chunk] = record.sha256;
      state.present.add(record.chunk);
    }
  } else if ('lost' in record) state.present.delete(record.lost);
  // If an earlier line is damaged, this is not what was verified.
  else if ('verified' in record) state.isVerified = record.verified === digestOf(state.hashes);
  else {
    state.hashes.length = 0;
    state.present.clear();
    state.isVerified = false;
  }
}

/** Identifies a list of chunks. */
export function digestOf(hashes: readonly (string | undefined)[]): string {
  return checksum(Array.from(hashes, (hash) => hash ?? '').join());
}

export function numChunks({ size, chunkBytes }: FileDescription): number {
  return Math.ceil(size / chunkBytes);
}

/** Bytes of chunk `index`. */
export function chunkLength({ size, chunkBytes }: FileDescription, index: number): number {
  return Math.min(chunkBytes, size - index * chunkBytes);
}

export function isComplete({ description, present, isVerified }: FileState): boolean {
  return isVerified && present.size === numChunks(description);
}

export function presentBytes({ description, present }: FileState): number {
  return [...present].reduce((sum, index) => sum + chunkLength(description, index), 0);
}
