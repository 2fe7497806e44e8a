/**
 * @file A checkpoint that is read through a store: files are downloaded whole, verified, and then read from the disk; what is
 * missing or damaged there comes from the network again. It must not know disks, workers or tensors.
 */
import { CorruptCheckpointError, SourceError, StoreFullError } from '../errors.ts';
import { TemporaryError } from '../weights/http.ts';
import { isCommit, type WholeHash } from '../weights/hub-listing.ts';
import { createProgress, type LoadProgress } from '../weights/progress.ts';
import {
  type ByteRange,
  checkFileSize,
  checkName,
  concatenate,
  DEFAULT_MAX_FILE_BYTES,
  type FileStart,
  type PrepareOptions,
  type RangeReader,
  type ReadOptions,
  type Source,
  streamRanges,
} from '../weights/source.ts';
import type { Backend, FileStatus } from './backend.ts';
import { sha256 } from './disk.ts';
import { chunkLength, type FileDescription } from './journal.ts';
import type { Locks } from './locks.ts';
import type { Origin, Snapshot } from './snapshot.ts';

export interface StoreContext {
  backend: Backend;
  locks: Locks;
  chunkBytes: number;
  /** An estimate of this much room or more means at least as much: browsers tell no page how large the disk is. */
  muchRoom: number;
  persist(): Promise<boolean>;
}

/** A version of a file, as far as it can be told apart. */
interface Version {
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

/** Bytes that a folder's file is told apart by, beside size and ETag: the header of most shards. */
const PROBE_BYTES = 64 * 1024;
/** A file that comes with another hash than announced is downloaded so many times. */
const MAX_DOWNLOADS = 3;

export function storedSource(origin: Origin, context: StoreContext): Source {
  const { backend, locks, chunkBytes } = context;
  const { label } = origin;
  const versions = new Map<string, Promise<Version | undefined>>();
  const probes = new Map<string, FileStart>();
  const promised = new Map<string, Promised[]>();
  let opening: Promise<Snapshot> | undefined;

  const at = (name: string) => `${name} of ${label}`;
  const inStore = <T>({ signal }: ReadOptions, work: () => Promise<T>) =>
    locks.hold('store', { mode: 'shared', signal }, work);

  /** Remembers what worked: after a failure the next call tries again. */
  function openOnce(options: ReadOptions): Promise<Snapshot> {
    opening ??= inStore(options, () => origin.open(options)).catch((error) => {
      opening = undefined;
      throw error;
    });
    return opening;
  }

  function versionOf(name: string, options: ReadOptions): Promise<Version | undefined> {
    checkName(name, label);
    const known = versions.get(name);
    if (known) return known;
    const finding = openOnce(options)
      .then((snapshot) => findVersion(snapshot, name, options))
      .catch((error) => {
        versions.delete(name);
        throw error;
      });
    versions.set(name, finding);
    return finding;
  }

  async function findVersion(
    snapshot: Snapshot,
    name: string,
    options: ReadOptions,
  ): Promise<Version | undefined> {
    const { listing, revision } = snapshot.state;
    const listed = listing && Object.hasOwn(listing.files, name) ? listing.files[name] : undefined;
    if (listed?.hash) {
      const { hash, size } = listed;
      return { name, id: `${hash.kind}-${hash.hex}-${size}`, size, hash, canResume: true };
    }
    if (listing?.isWhole && !listed) return undefined;
    if (revision !== undefined && isCommit(revision)) {
      // Nothing of a commit changes: what is here is it.
      const stored = await findStored(snapshot, name);
      if (stored && (await backend.fileStatus(stored.id))?.isComplete) return stored;
    }
    return probe(snapshot, name, options);
  }

  async function findStored({ state }: Snapshot, name: string): Promise<Version | undefined> {
    const stored = state.files.get(name);
    return stored && { name, ...stored, hash: undefined, canResume: false };
  }

  /** Asks the server for the beginning of a file, and tells its version by that. */
  async function probe(snapshot: Snapshot, name: string, options: ReadOptions): Promise<Version | undefined> {
    const { state, upstream } = snapshot;
    let start: FileStart | undefined;
    try {
      start = await upstream.readStart(name, PROBE_BYTES, options);
    } catch (error) {
      const stored = await findStored(snapshot, name);
      if (!(error instanceof TemporaryError) || !(stored || state.absent.has(name))) throw error;
      return stored;
    }
    if (!start) {
      if (!state.absent.has(name)) await snapshot.record({ absent: name });
      return undefined;
    }
    const { bytes, etag } = start;
    probes.set(name, start);
    const told = start.size ?? (bytes.length < PROBE_BYTES ? bytes.length : undefined);
    const facts = [snapshot.id, name, told ?? '', etag ?? '', await sha256(bytes)];
    const id = await sha256(facts.join('\n'));
    const stored = state.files.get(name);
    const size = told ?? (stored?.id === id ? stored.size : Number.NaN);
    return { name, id, size, hash: undefined, canResume: etag !== undefined && told !== undefined };
  }

  const describe = ({ size, hash }: Version): FileDescription => ({ size, chunkBytes, hash });

  async function belong(version: Version, snapshot: Snapshot): Promise<void> {
    const { name, id, size } = version;
    const stored = snapshot.state.files.get(name);
    if (stored?.id !== id || stored.size !== size) await snapshot.record({ file: name, id, size });
  }

  /** Downloads what is missing of a file, and verifies the whole. */
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

  /** A verified chunk of a complete file; what the disk damaged or lost is downloaded again. */
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

  /** The first `length` bytes of a complete file. */
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

  function createReader(name: string, end: number, options: ReadOptions): RangeReader {
    let opened: Promise<{ version: Version; description: FileDescription }> | undefined;
    let current: { index: number; bytes: Promise<Uint8Array> } | undefined;
    let next: typeof current;

    async function open() {
      const version = await versionOf(name, options);
      if (!version) {
        throw new SourceError(`${at(name)}: there is no such file. Is every file of the checkpoint there?`);
      }
      if (Number.isNaN(version.size)) version.size = end;
      await complete(version, await openOnce(options), options);
      return { version, description: await descriptionOf(version) };
    }

    return {
      async next({ begin, end }, groupEnd) {
        opened ??= open();
        const { version, description } = await opened;
        if (description.size < groupEnd) {
          throw new CorruptCheckpointError(
            `${at(name)}: the file has ${description.size} bytes, wanted bytes up to ${groupEnd}: it is truncated. Upload it ` +
              'again where it comes from, or load the checkpoint from elsewhere.',
          );
        }
        const read = (index: number) => {
          const bytes = readChunk(version, description, index, options);
          bytes.catch(() => undefined); // is thrown where it is awaited
          return { index, bytes };
        };
        const index = Math.floor(begin / description.chunkBytes);
        const chunkBegin = index * description.chunkBytes;
        if (current?.index !== index) current = next?.index === index ? next : read(index);
        if (next?.index !== index + 1) {
          next = chunkBegin + description.chunkBytes < groupEnd ? read(index + 1) : undefined;
        }
        return (await current.bytes).subarray(begin - chunkBegin, end - chunkBegin);
      },
      async close() {
        await Promise.allSettled([opened, current?.bytes, next?.bytes]);
      },
    };
  }

  async function readWhole(
    version: Version,
    maxBytes: number,
    options: ReadOptions,
  ): Promise<Uint8Array | undefined> {
    const snapshot = await openOnce(options);
    if (Number.isNaN(version.size)) {
      // Only the end of the file tells how long it is.
      const bytes = await snapshot.upstream.readFile(version.name, { ...options, maxBytes });
      version.size = bytes?.length ?? 0;
    }
    checkFileSize(version.size, maxBytes, at(version.name));
    await complete(version, snapshot, options);
    return readBytes(version, version.size, options);
  }

  async function readStart(
    version: Version,
    maxBytes: number,
    options: ReadOptions,
  ): Promise<FileStart | undefined> {
    const size = Number.isNaN(version.size) ? undefined : version.size;
    if ((await backend.fileStatus(version.id))?.isComplete) {
      return { bytes: await readBytes(version, maxBytes, options), size };
    }
    const probed = probes.get(version.name);
    const { upstream } = await openOnce(options);
    const isProbed = probed && (maxBytes <= PROBE_BYTES || probed.bytes.length < PROBE_BYTES);
    const start = isProbed ? probed : await upstream.readStart(version.name, maxBytes, options);
    if (!start) return undefined;
    const bytes = start.bytes.subarray(0, maxBytes);
    const promise = { length: bytes.length, sha256: await sha256(bytes) };
    promised.set(version.name, [...(promised.get(version.name) ?? []), promise]);
    return { bytes, size };
  }

  /** @throws StoreFullError when what is missing has no room, before any of it is downloaded */
  async function checkRoom(neededBytes: number): Promise<void> {
    await context.persist();
    const { quota, usage } = await backend.estimate();
    const room = Math.max(0, (quota ?? Number.POSITIVE_INFINITY) - usage);
    if (neededBytes <= room || room >= context.muchRoom) return;
    throw new StoreFullError(
      `${label} needs ${neededBytes} more bytes in the store, and there is room for ${room}. Delete ` +
        'another model with store.delete(name), or load this one without a store.',
      neededBytes,
      room,
    );
  }

  async function prepare(
    files: readonly { name: string; bytes: number }[],
    options: PrepareOptions,
  ): Promise<void> {
    const snapshot = await openOnce(options);
    const wanted: { version: Version; storedBytes: number }[] = [];
    for (const { name, bytes } of files) {
      const version = await versionOf(name, options);
      if (!version) throw new SourceError(`${at(name)}: there is no such file.`);
      if (Number.isNaN(version.size)) version.size = bytes;
      await belong(version, snapshot);
      const status = await backend.fileStatus(version.id);
      const isKept = status && (status.isComplete || version.canResume);
      wanted.push({ version, storedBytes: isKept ? status.storedBytes : 0 });
    }
    const totalBytes = sum(wanted.map(({ version }) => version.size));
    const storedBytes = sum(wanted.map(({ storedBytes }) => storedBytes));
    if (storedBytes < totalBytes) await checkRoom(totalBytes - storedBytes);
    const report = (part: LoadProgress) =>
      options.onProgress?.({ ...part, loadedBytes: part.loadedBytes + storedBytes, totalBytes });
    const isDownload = storedBytes < totalBytes;
    const progress = createProgress(totalBytes - storedBytes, 0, isDownload ? report : undefined);
    for (const { version } of wanted) await complete(version, snapshot, options, progress.addBytes);
    if (!snapshot.state.isComplete) await snapshot.record({ complete: true });
    await backend.markUsed(snapshot.id, Date.now());
  }

  return {
    label,

    readFile: (name, options = {}) =>
      inStore(options, async () => {
        const version = await versionOf(name, options);
        return version && readWhole(version, options.maxBytes ?? DEFAULT_MAX_FILE_BYTES, options);
      }),

    readStart: (name, maxBytes, options = {}) =>
      inStore(options, async () => {
        const version = await versionOf(name, options);
        return version && readStart(version, maxBytes, options);
      }),

    stream: (name, ranges, options = {}) =>
      streamRanges(
        ranges,
        heldReader(createReader(name, ranges.at(-1)?.end ?? 0, options), options),
        options,
      ),

    prepare: (files, options = {}) => inStore(options, () => prepare(files, options)),

    ...(origin.isListed ? { list } : {}),
  };

  async function list(options: ReadOptions = {}): Promise<string[]> {
    const { listing, files } = (await openOnce(options)).state;
    return listing ? Object.keys(listing.files) : [...files.keys()];
  }

  /** Keeps the store's lock from the first byte to the last. */
  function heldReader(reader: RangeReader, options: ReadOptions): RangeReader {
    let release: (() => void) | undefined;
    let holding: Promise<void> | undefined;
    return {
      async next(range, groupEnd) {
        holding ??= new Promise((resolve, reject) => {
          const held = inStore(options, () => {
            resolve();
            return new Promise<void>((end) => {
              release = end;
            });
          });
          held.catch(reject);
        });
        await holding;
        return reader.next(range, groupEnd);
      },
      async close() {
        await reader.close();
        release?.();
      },
    };
  }
}

function rangeOf(description: FileDescription, index: number): ByteRange {
  const begin = index * description.chunkBytes;
  return { begin, end: begin + chunkLength(description, index) };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
