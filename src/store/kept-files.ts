/**
 * @file The files of a checkpoint in a store: downloads whole files, verifies them, reads verified chunks, and downloads again what the
 * disk damaged. It must not know which version of a file is meant, or what reads it.
 */
import { CorruptCheckpointError, SourceError } from '../errors.ts';
import { TemporaryError } from '../sources/http.ts';
import type { WholeHash } from '../sources/hub-listing.ts';
import { type ByteRange, concatenate, type ReadOptions } from '../sources/source.ts';
import type { Backend, FileStatus } from './backend.ts';
import { sha256 } from './disk.ts';
import { chunkLength, type FileDescription } from './journal.ts';
import type { Locks } from './locks.ts';
import type { Snapshot } from './snapshot.ts';

export interface StoreContext {
  backend: Backend;
  locks: Locks;
  chunkBytes: number;
  /** An estimate of this much room or more means at least that much: browsers do not tell a page how large the disk is. */
  muchRoom: number;
  persist(): Promise<boolean>;
}

/** A version of a file, as far as versions can be distinguished. */
export interface Version {
  name: string;
  /** The id of its journal. */
  id: string;
  /** NaN if no server says it, until something needs the whole file. */
  size: number;
  hash: WholeHash | undefined;
  /** An interrupted download may go on: what is there belongs to the same version. */
  canResume: boolean;
}

/** The part of a file that was handed out before the whole file was verified. */
interface Promised {
  length: number;
  sha256: string;
}

/** How often a file is downloaded if its hash is not the announced one. */
const MAX_DOWNLOADS = 3;

export class KeptFiles {
  readonly #label: string;
  readonly #backend: Backend;
  readonly #locks: Locks;
  readonly #chunkBytes: number;
  readonly #snapshot: (options: ReadOptions) => Promise<Snapshot>;
  readonly #promised = new Map<string, Promised[]>();

  /** @param snapshot gives the snapshot that the files belong to */
  constructor(
    label: string,
    { backend, locks, chunkBytes }: StoreContext,
    snapshot: (options: ReadOptions) => Promise<Snapshot>,
  ) {
    this.#label = label;
    this.#backend = backend;
    this.#locks = locks;
    this.#chunkBytes = chunkBytes;
    this.#snapshot = snapshot;
  }

  /** Notes that the model has this version of a file. */
  async belong(version: Version, snapshot: Snapshot): Promise<void> {
    const { name, id, size } = version;
    const stored = snapshot.state.files.get(name);
    if (stored?.id !== id || stored.size !== size) await snapshot.record({ file: name, id, size });
  }

  /** Downloads what is missing of a file, and verifies the whole file. */
  async complete(
    version: Version,
    snapshot: Snapshot,
    options: ReadOptions,
    onBytes: (numBytes: number) => void = () => undefined,
  ): Promise<void> {
    await this.belong(version, snapshot);
    if ((await this.#backend.fileStatus(version.id))?.isComplete) return this.#keepPromises(version, options);
    await this.#alone(version, options, async () => {
      const { size, hash, canResume } = version;
      const description = { size, chunkBytes: this.#chunkBytes, hash };
      let status = await this.#backend.openFile(version.id, description, !canResume);
      for (let i = 1; !status.isComplete; i++) {
        try {
          await this.#download(version, snapshot, status, options, onBytes);
          if (await this.#backend.verifyFile(version.id)) break;
          if (i === MAX_DOWNLOADS) throw this.#wrongHash(version);
        } catch (error) {
          // The listing may be the wrong one: the next load asks for it again.
          if (error instanceof CorruptCheckpointError && hash) await snapshot.record({ listing: null });
          throw error;
        }
        const before = status.description;
        status = await this.#backend.openFile(version.id, before, false);
        onBytes(-sum(status.missing.map((index) => chunkLength(before, index))));
      }
    });
    await this.#keepPromises(version, options);
  }

  /** Remembers bytes from a file's beginning that were handed out unverified: the complete file must begin with them. */
  async promise(name: string, bytes: Uint8Array): Promise<void> {
    const promise = { length: bytes.length, sha256: await sha256(bytes) };
    this.#promised.set(name, [...(this.#promised.get(name) ?? []), promise]);
  }

  async descriptionOf({ id, name }: Version): Promise<FileDescription> {
    const status = await this.#backend.fileStatus(id);
    if (status) return status.description;
    throw new SourceError(`${this.#at(name)}: was deleted from the store while it was read. Load it again.`);
  }

  /** A verified chunk of a complete file; what the disk damaged or lost is downloaded again. */
  async readChunk(
    version: Version,
    description: FileDescription,
    index: number,
    options: ReadOptions,
  ): Promise<Uint8Array> {
    const bytes = await this.#backend.readChunk(version.id, index);
    return bytes ?? this.#repair(version, description, index, options);
  }

  /** The first `length` bytes of a complete file. */
  async readBytes(version: Version, length: number, options: ReadOptions): Promise<Uint8Array> {
    const description = await this.descriptionOf(version);
    const bytes = new Uint8Array(Math.min(length, description.size));
    for (let begin = 0; begin < bytes.length; begin += description.chunkBytes) {
      options.signal?.throwIfAborted();
      const chunk = await this.readChunk(version, description, begin / description.chunkBytes, options);
      bytes.set(chunk.subarray(0, bytes.length - begin), begin);
    }
    return bytes;
  }

  #at(name: string): string {
    return `${name} of ${this.#label}`;
  }

  /** Runs `work` as the only writer of a file. */
  #alone<T>({ id }: Version, { signal }: ReadOptions, work: () => Promise<T>): Promise<T> {
    return this.#locks.hold(`file/${id}`, { mode: 'exclusive', signal }, work);
  }

  /** Fetches the missing chunks in order, and writes each to the disk while the next one comes. */
  async #download(
    { id, name }: Version,
    { upstream }: Snapshot,
    { description, missing }: FileStatus,
    options: ReadOptions,
    onBytes: (numBytes: number) => void,
  ): Promise<void> {
    const ranges = missing.map((index) => rangeOf(description, index));
    let writing: Promise<unknown> = Promise.resolve();
    let chunk = new Uint8Array(0);
    let filled = 0;
    let done = 0;
    try {
      for await (const bytes of upstream.stream(name, ranges, options)) {
        const index = missing[done]!;
        if (filled === 0) chunk = new Uint8Array(chunkLength(description, index));
        chunk.set(bytes, filled);
        filled += bytes.length;
        onBytes(bytes.length);
        if (filled < chunk.length) continue;
        await writing;
        writing = this.#backend.putChunk(id, index, chunk);
        writing.catch(() => undefined); // thrown where it is awaited
        filled = 0;
        done += 1;
      }
    } finally {
      await writing;
    }
  }

  /** What was read of a file before it was verified must be the same in the verified file. */
  async #keepPromises(version: Version, options: ReadOptions): Promise<void> {
    for (const { length, sha256: wanted } of this.#promised.get(version.name) ?? []) {
      const bytes = await this.readBytes(version, length, options);
      if ((await sha256(bytes)) === wanted) continue;
      throw new CorruptCheckpointError(
        `${this.#at(version.name)}: its first ${length} bytes came otherwise than they are in the verified file. Load it again.`,
      );
    }
    this.#promised.delete(version.name);
  }

  async #repair(
    version: Version,
    description: FileDescription,
    index: number,
    options: ReadOptions,
  ): Promise<Uint8Array> {
    const { id, name } = version;
    const range = rangeOf(description, index);
    const snapshot = await this.#snapshot(options);
    return this.#alone(version, options, async () => {
      const status = await this.#backend.openFile(id, description, false);
      if (!status.missing.includes(index)) {
        const bytes = await this.#backend.readChunk(id, index); // another reader repaired it first
        if (bytes) return bytes;
      }
      for (let i = 0; i < MAX_DOWNLOADS; i++) {
        const fresh = await this.#fetchAgain(name, range, snapshot, options);
        if (!(await this.#backend.putChunk(id, index, fresh))) continue;
        const bytes = await this.#backend.readChunk(id, index);
        if (bytes) return bytes;
      }
      throw new CorruptCheckpointError(
        `${this.#at(name)}: bytes ${range.begin} to ${range.end} were damaged in the store, and the server now has others than before. ` +
          'Delete the model from the store, and load it again.',
      );
    });
  }

  async #fetchAgain(
    name: string,
    range: ByteRange,
    { upstream }: Snapshot,
    options: ReadOptions,
  ): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    try {
      for await (const bytes of upstream.stream(name, [range], options)) chunks.push(bytes.slice());
    } catch (error) {
      if (!(error instanceof TemporaryError)) throw error;
      throw new SourceError(
        `${this.#at(name)}: bytes ${range.begin} to ${range.end} were damaged in the store, and the network does not give them ` +
          `again (${error.message}) Load the model again when it is up.`,
      );
    }
    return concatenate(chunks);
  }

  #wrongHash({ name, hash }: Version): CorruptCheckpointError {
    return new CorruptCheckpointError(
      `${this.#at(name)}: came ${MAX_DOWNLOADS} times with other bytes than the hub says it has (wanted ${hash?.kind} ${hash?.hex}). ` +
        'Something on the way changes it, a proxy or a mirror: try another network, or report it to the mirror.',
    );
  }
}

function rangeOf(description: FileDescription, index: number): ByteRange {
  const begin = index * description.chunkBytes;
  return { begin, end: begin + chunkLength(description, index) };
}

/** The sum of some numbers of bytes. */
export function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
