/**
 * @file A checkpoint that is read through a store: tells which version of a file is meant, and reads it when all of it is here. It
 * must not know disks, workers or tensors.
 */
import { CorruptCheckpointError, SourceError, StoreFullError } from '../errors.ts';
import { TemporaryError } from '../weights/http.ts';
import { isCommit } from '../weights/hub-listing.ts';
import { createProgress, type LoadProgress } from '../weights/progress.ts';
import {
  checkFileSize,
  checkName,
  DEFAULT_MAX_FILE_BYTES,
  type FileStart,
  type PrepareOptions,
  type RangeReader,
  type ReadOptions,
  type Source,
  streamRanges,
} from '../weights/source.ts';
import { sha256 } from './disk.ts';
import type { FileDescription } from './journal.ts';
import { createKeptFiles, type StoreContext, sum, type Version } from './kept-files.ts';
import type { Origin, Snapshot } from './snapshot.ts';

/** Bytes that a folder's file is told apart by, beside size and ETag: the header of most shards. */
const PROBE_BYTES = 64 * 1024;

export function storedSource(origin: Origin, context: StoreContext): Source {
  const { backend, locks } = context;
  const { label } = origin;
  const versions = new Map<string, Promise<Version | undefined>>();
  const probes = new Map<string, FileStart>();
  let opening: Promise<Snapshot> | undefined;

  const kept = createKeptFiles(label, context, openOnce);
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
      await kept.complete(version, await openOnce(options), options);
      return { version, description: await kept.descriptionOf(version) };
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
          const bytes = kept.readChunk(version, description, index, options);
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
    await kept.complete(version, snapshot, options);
    return kept.readBytes(version, version.size, options);
  }

  async function readStart(
    version: Version,
    maxBytes: number,
    options: ReadOptions,
  ): Promise<FileStart | undefined> {
    const size = Number.isNaN(version.size) ? undefined : version.size;
    if ((await backend.fileStatus(version.id))?.isComplete) {
      return { bytes: await kept.readBytes(version, maxBytes, options), size };
    }
    const probed = probes.get(version.name);
    const { upstream } = await openOnce(options);
    const isProbed = probed && (maxBytes <= PROBE_BYTES || probed.bytes.length < PROBE_BYTES);
    const start = isProbed ? probed : await upstream.readStart(version.name, maxBytes, options);
    if (!start) return undefined;
    const bytes = start.bytes.subarray(0, maxBytes);
    await kept.promise(version.name, bytes);
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
      await kept.belong(version, snapshot);
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
    for (const { version } of wanted) await kept.complete(version, snapshot, options, progress.addBytes);
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
