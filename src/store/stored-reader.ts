/**
 * @file Reads one file of a store chunk by chunk, the next one ahead, and holds the store's lock meanwhile. It must not know how the
 * chunks come to be there.
 */
import { CorruptCheckpointError } from '../errors.ts';
import type { ByteRange, RangeReader, ReadOptions } from '../sources/source.ts';
import type { FileDescription } from './journal.ts';
import type { KeptFiles, Version } from './kept-files.ts';
import { holdStore, type Locks } from './locks.ts';

/** A complete file. */
export interface OpenedFile {
  version: Version;
  description: FileDescription;
}

interface Chunk {
  index: number;
  bytes: Promise<Uint8Array>;
}

export class StoredReader implements RangeReader {
  readonly #kept: KeptFiles;
  /** For messages: which file it is. */
  readonly #label: string;
  readonly #open: () => Promise<OpenedFile>;
  readonly #options: ReadOptions;
  #opened: Promise<OpenedFile> | undefined;
  #current: Chunk | undefined;
  #next: Chunk | undefined;

  /** @param open completes the file when its first bytes are wanted */
  constructor(kept: KeptFiles, label: string, open: () => Promise<OpenedFile>, options: ReadOptions) {
    this.#kept = kept;
    this.#label = label;
    this.#open = open;
    this.#options = options;
  }

  async next({ begin, end }: ByteRange, groupEnd: number): Promise<Uint8Array> {
    this.#opened ??= this.#open();
    const file = await this.#opened;
    const { size, chunkBytes } = file.description;
    if (size < groupEnd) {
      throw new CorruptCheckpointError(
        `${this.#label}: the file has ${size} bytes, wanted bytes up to ${groupEnd}: it is truncated. Upload it ` +
          'again where it comes from, or load the checkpoint from elsewhere.',
      );
    }
    const index = Math.floor(begin / chunkBytes);
    const chunkBegin = index * chunkBytes;
    if (this.#current?.index !== index) {
      this.#current = this.#next?.index === index ? this.#next : this.#read(file, index);
    }
    if (this.#next?.index !== index + 1) {
      this.#next = chunkBegin + chunkBytes < groupEnd ? this.#read(file, index + 1) : undefined;
    }
    return (await this.#current.bytes).subarray(begin - chunkBegin, end - chunkBegin);
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.#opened, this.#current?.bytes, this.#next?.bytes]);
  }

  #read({ version, description }: OpenedFile, index: number): Chunk {
    const bytes = this.#kept.readChunk(version, description, index, this.#options);
    bytes.catch(() => undefined); // thrown where it is awaited
    return { index, bytes };
  }
}

/** Holds the store's lock from the first byte to the last. */
export class HeldReader implements RangeReader {
  readonly #reader: RangeReader;
  readonly #locks: Locks;
  readonly #options: ReadOptions;
  #release: (() => void) | undefined;
  #holding: Promise<void> | undefined;

  constructor(reader: RangeReader, locks: Locks, options: ReadOptions) {
    this.#reader = reader;
    this.#locks = locks;
    this.#options = options;
  }

  async next(range: ByteRange, groupEnd: number): Promise<Uint8Array> {
    this.#holding ??= this.#hold();
    await this.#holding;
    return this.#reader.next(range, groupEnd);
  }

  async close(): Promise<void> {
    await this.#reader.close();
    this.#release?.();
  }

  /** Resolves when the lock is held, which it is until `close`. */
  #hold(): Promise<void> {
    return new Promise((resolve, reject) => {
      const held = holdStore(this.#locks, this.#options, () => {
        resolve();
        return new Promise<void>((end) => {
          this.#release = end;
        });
      });
      held.catch(reject);
    });
  }
}
