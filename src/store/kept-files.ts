/**
 * @file The files of a checkpoint in a store: downloads them whole, verifies them, reads verified chunks, and gets again what the
 * disk damaged. It must not know which version of a file is meant, or who reads.
 */
import { CorruptCheckpointError, SourceError } from '../errors.ts';
import { TemporaryError } from '../weights/http.ts';
import type { WholeHash } from '../weights/hub-listing.ts';
import { type ByteRange, concatenate, type ReadOptions } from '../weights/source.ts';
import type { Backend, FileStatus } from './backend.ts';
import { sha256 } from './disk.ts';
import { chunkLength, type FileDescription } from './journal.ts';
import type { Locks } from './locks.ts';
import type { Snapshot } from './snapshot.ts';

export interface StoreContext {
  backend: Backend;
  locks: Locks;
  chunkBytes: number;
  /** An estimate of this much room or more means at least as much: browsers tell no page how large the disk is. */
  muchRoom: number;
  persist(): Promise<boolean>;
}

/** A version of a file, as far as it can be told apart. */
export interface Version {
  name: string;
  /** Of its journal. */
  id: string;
  /** NaN where no server tells it and nothing that needs the whole file was asked yet. */
  size: number;
  hash: WholeHash | undefined;
  /** A download that was broken off may go on: what is there belongs to the same version. */
  canResume: boolean;
}

/** What was handed out of a file before the whole of it was verified. */
interface Promised {
  length: number;
  sha256: string;
}

/** A file that comes with another hash than announced is downloaded so many times. */
const MAX_DOWNLOADS = 3;

export interface KeptFiles {
  /** Says that the model has this version of a file. */
  belong(version: Version, snapshot: Snapshot): Promise<void>;
  /** Downloads what is missing of a file, and verifies the whole. */
  complete(
    version: Version,
    snapshot: Snapshot,
    options: ReadOptions,
    onBytes?: (numBytes: number) => void,
  ): Promise<void>;
  /** Remembers bytes from a file's beginning that went out unverified: when it is complete they must be in it. */
  promise(name: string, bytes: Uint8Array): Promise<void>;
  descriptionOf(version: Version): Promise<FileDescription>;
  /** A verified chunk of a complete file; what the disk damaged or lost is downloaded again. */
  readChunk(
    version: Version,
    description: FileDescription,
    index: number,
    options: ReadOptions,
  ): Promise<Uint8Array>;
  /** The first `length` bytes of a complete file. */
  readBytes(version: Version, length: number, options: ReadOptions): Promise<Uint8Array>;
}

/** @param openOnce gives the snapshot that the files belong to */
export function createKeptFiles(
  label: string,
  { backend, locks, chunkBytes }: StoreContext,
  openOnce: (options: ReadOptions) => Promise<Snapshot>,
): KeptFiles {
  const promised = new Map<string, Promised[]>();
  const at = (name: string) => `${name} of ${label}`;

  const describe = ({ size, hash }: Version): FileDescription => ({ size, chunkBytes, hash });

  async function belong(version: Version, snapshot: Snapshot): Promise<void> {
    const { name, id, size } = version;
    const stored = snapshot.state.files.get(name);
    if (stored?.id !== id || stored.size !== size) await snapshot.record({ file: name, id, size });
  }

  async function complete(
    version: Version,
    snapshot: Snapshot,
    options: ReadOptions,
    onBytes: (numBytes: number) => void = () => undefined,
  ): Promise<void> {
    await belong(version, snapshot);
    if ((await backend.fileStatus(version.id))?.isComplete) return keepPromises(version, options);
    await locks.hold(`file/${version.id}`, { mode: 'exclusive', signal: options.signal }, async () => {
      let status = await backend.openFile(version.id, describe(version), !version.canResume);
      for (let i = 1; !status.isComplete; i++) {
        try {
          await download(version, snapshot, status, options, onBytes);
          if (await backend.verifyFile(version.id)) break;
          if (i === MAX_DOWNLOADS) throw wrongHash(version);
        } catch (error) {
          // Perhaps it is the listing that came wrong: the next load asks for it again.
          if (error instanceof CorruptCheckpointError && version.hash)
            await snapshot.record({ listing: null });
          throw error;
        }
        const before = status.description;
        status = await backend.openFile(version.id, before, false);
        onBytes(-sum(status.missing.map((index) => chunkLength(before, index))));
      }
    });
    await keepPromises(version, options);
  }

  function wrongHash({ name, hash }: Version): CorruptCheckpointError {
    return new CorruptCheckpointError(
      `${at(name)}: came ${MAX_DOWNLOADS} times with other bytes than the hub says it has (wanted ${hash?.kind} ${hash?.hex}). ` +
        'Something on the way changes it, a proxy or a mirror: try another network, or report it to the mirror.',
    );
  }

  /** Fetches the missing chunks in order, and hands each to the disk while the next one comes. */
  async function download(
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
        writing = backend.putChunk(id, index, chunk);
        writing.catch(() => undefined); // is thrown where it is awaited
        filled = 0;
        done += 1;
      }
    } finally {
      await writing;
    }
  }

  /** What was read of a file before it was verified must be what it turned out to be. */
  async function keepPromises(version: Version, options: ReadOptions): Promise<void> {
    for (const { length, sha256: wanted } of promised.get(version.name) ?? []) {
      const bytes = await readBytes(version, length, options);
      if ((await sha256(bytes)) === wanted) continue;
      throw new CorruptCheckpointError(
        `${at(version.name)}: its first ${length} bytes came otherwise than they are in the verified file. Load it again.`,
      );
    }
    promised.delete(version.name);
  }

  async function readChunk(
    version: Version,
    description: FileDescription,
    index: number,
    options: ReadOptions,
  ): Promise<Uint8Array> {
    const bytes = await backend.readChunk(version.id, index);
    return bytes ?? repair(version, description, index, options);
  }

  async function repair(
    version: Version,
    description: FileDescription,
    index: number,
    options: ReadOptions,
  ): Promise<Uint8Array> {
    const { id, name } = version;
    const range = rangeOf(description, index);
    const snapshot = await openOnce(options);
    return locks.hold(`file/${id}`, { mode: 'exclusive', signal: options.signal }, async () => {
      const status = await backend.openFile(id, description, false);
      if (!status.missing.includes(index)) {
        const bytes = await backend.readChunk(id, index); // another reader was faster
        if (bytes) return bytes;
      }
      for (let i = 0; i < MAX_DOWNLOADS; i++) {
        const chunks: Uint8Array[] = [];
        try {
          for await (const bytes of snapshot.upstream.stream(name, [range], options))
            chunks.push(bytes.slice());
        } catch (error) {
          if (!(error instanceof TemporaryError)) throw error;
          throw new SourceError(
            `${at(name)}: bytes ${range.begin} to ${range.end} were damaged in the store, and the network does not give them ` +
              `again (${error.message}) Load the model again when it is up.`,
          );
        }
        if (!(await backend.putChunk(id, index, concatenate(chunks)))) continue;
        const bytes = await backend.readChunk(id, index);
        if (bytes) return bytes;
      }
      throw new CorruptCheckpointError(
        `${at(name)}: bytes ${range.begin} to ${range.end} were damaged in the store, and the server now has others than before. ` +
          'Delete the model from the store, and load it again.',
      );
    });
  }

  async function descriptionOf({ id, name }: Version): Promise<FileDescription> {
    const status = await backend.fileStatus(id);
    if (status) return status.description;
    throw new SourceError(`${at(name)}: was deleted from the store while it was read. Load it again.`);
  }

  async function readBytes(version: Version, length: number, options: ReadOptions): Promise<Uint8Array> {
    const description = await descriptionOf(version);
    const bytes = new Uint8Array(Math.min(length, description.size));
    for (let begin = 0; begin < bytes.length; begin += description.chunkBytes) {
      options.signal?.throwIfAborted();
      const chunk = await readChunk(version, description, begin / description.chunkBytes, options);
      bytes.set(chunk.subarray(0, bytes.length - begin), begin);
    }
    return bytes;
  }

  return {
    belong,
    complete,
    async promise(name, bytes) {
      const promise = { length: bytes.length, sha256: await sha256(bytes) };
      promised.set(name, [...(promised.get(name) ?? []), promise]);
    },
    descriptionOf,
    readChunk,
    readBytes,
  };
}

function rangeOf(description: FileDescription, index: number): ByteRange {
  const begin = index * description.chunkBytes;
  return { begin, end: begin + chunkLength(description, index) };
}

/** The total of some numbers of bytes. */
export function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
