/**
 * @file A checkpoint that is read through a store: reads a file once the whole of it is here, and first of all makes room for it. It
 * must not know disks, workers or tensors.
 */
import { SourceError, StoreFullError } from '../errors.ts';
import { createProgress, type LoadProgress } from '../sources/progress.ts';
import {
  checkFileSize,
  DEFAULT_MAX_FILE_BYTES,
  type FileExtent,
  type FileStart,
  type PrepareOptions,
  type ReadOptions,
  type Source,
  streamRanges,
} from '../sources/source.ts';
import { FileVersions, PROBE_BYTES } from './file-versions.ts';
import { KeptFiles, type StoreContext, sum, type Version } from './kept-files.ts';
import { holdStore } from './locks.ts';
import type { Origin } from './snapshot.ts';
import { HeldReader, type OpenedFile, StoredReader } from './stored-reader.ts';

export function storedSource(origin: Origin, context: StoreContext): Source {
  const files = new StoredFiles(origin, context);
  const { locks } = context;
  return {
    label: origin.label,
    file: origin.file,

    readFile: (name, options = {}) =>
      holdStore(locks, options, () =>
        files.readFile(name, options.maxBytes ?? DEFAULT_MAX_FILE_BYTES, options),
      ),

    readStart: (name, maxBytes, options = {}) =>
      holdStore(locks, options, () => files.readStart(name, maxBytes, options)),

    stream(name, ranges, options = {}) {
      const reader = files.reader(name, ranges.at(-1)?.end ?? 0, options);
      return streamRanges(ranges, new HeldReader(reader, locks, options), options);
    },

    prepare: (wanted, options = {}) => holdStore(locks, options, () => files.prepare(wanted, options)),

    ...(origin.isListed ? { list: (options) => files.list(options) } : {}),
  };
}

/** The files of one checkpoint. Its callers hold the store's lock. */
class StoredFiles {
  readonly #label: string;
  readonly #context: StoreContext;
  readonly #versions: FileVersions;
  readonly #kept: KeptFiles;

  constructor(origin: Origin, context: StoreContext) {
    this.#label = origin.label;
    this.#context = context;
    this.#versions = new FileVersions(origin, context.backend, context.locks);
    this.#kept = new KeptFiles(origin.label, context, (options) => this.#versions.snapshot(options));
  }

  async readFile(name: string, maxBytes: number, options: ReadOptions): Promise<Uint8Array | undefined> {
    const version = await this.#versions.of(name, options);
    if (!version) return undefined;
    const snapshot = await this.#versions.snapshot(options);
    if (Number.isNaN(version.size)) {
      // Only the end of the file shows how long it is.
      const bytes = await snapshot.upstream.readFile(name, { ...options, maxBytes });
      version.size = bytes?.length ?? 0;
    }
    checkFileSize(version.size, maxBytes, this.#at(name));
    await this.#kept.complete(version, snapshot, options);
    return this.#kept.readBytes(version, version.size, options);
  }

  async readStart(name: string, maxBytes: number, options: ReadOptions): Promise<FileStart | undefined> {
    const version = await this.#versions.of(name, options);
    if (!version) return undefined;
    const size = Number.isNaN(version.size) ? undefined : version.size;
    if ((await this.#context.backend.fileStatus(version.id))?.isComplete) {
      return { bytes: await this.#kept.readBytes(version, maxBytes, options), size };
    }
    const probed = this.#versions.probed(name);
    const { upstream } = await this.#versions.snapshot(options);
    const isProbed = probed && (maxBytes <= PROBE_BYTES || probed.bytes.length < PROBE_BYTES);
    const start = isProbed ? probed : await upstream.readStart(name, maxBytes, options);
    if (!start) return undefined;
    const bytes = start.bytes.subarray(0, maxBytes);
    await this.#kept.promise(name, bytes);
    return { bytes, size };
  }

  /** @param end of what will be read: the size of a file whose server says none */
  reader(name: string, end: number, options: ReadOptions): StoredReader {
    return new StoredReader(this.#kept, this.#at(name), () => this.#open(name, end, options), options);
  }

  async prepare(files: readonly FileExtent[], options: PrepareOptions): Promise<void> {
    const snapshot = await this.#versions.snapshot(options);
    const wanted: { version: Version; storedBytes: number }[] = [];
    for (const { name, bytes } of files) {
      const version = await this.#versions.of(name, options);
      if (!version) throw new SourceError(`${this.#at(name)}: there is no such file.`);
      if (Number.isNaN(version.size)) version.size = bytes;
      await this.#kept.belong(version, snapshot);
      const status = await this.#context.backend.fileStatus(version.id);
      const isKept = status && (status.isComplete || version.canResume);
      wanted.push({ version, storedBytes: isKept ? status.storedBytes : 0 });
    }
    const totalBytes = sum(wanted.map(({ version }) => version.size));
    const storedBytes = sum(wanted.map(({ storedBytes }) => storedBytes));
    if (storedBytes < totalBytes) await this.#checkRoom(totalBytes - storedBytes);
    const report = (part: LoadProgress) =>
      options.onProgress?.({ ...part, loadedBytes: part.loadedBytes + storedBytes, totalBytes });
    const isDownload = storedBytes < totalBytes;
    const progress = createProgress(totalBytes - storedBytes, 0, isDownload ? report : undefined);
    for (const { version } of wanted) {
      await this.#kept.complete(version, snapshot, options, progress.addBytes);
    }
    if (!snapshot.state.isComplete) await snapshot.record({ complete: true });
    await this.#context.backend.markUsed(snapshot.id, Date.now());
  }

  async list(options: ReadOptions = {}): Promise<string[]> {
    const { listing, files } = (await this.#versions.snapshot(options)).state;
    return listing ? Object.keys(listing.files) : [...files.keys()];
  }

  async #open(name: string, end: number, options: ReadOptions): Promise<OpenedFile> {
    const version = await this.#versions.of(name, options);
    if (!version) {
      throw new SourceError(
        `${this.#at(name)}: there is no such file. Is every file of the checkpoint there?`,
      );
    }
    if (Number.isNaN(version.size)) version.size = end;
    await this.#kept.complete(version, await this.#versions.snapshot(options), options);
    return { version, description: await this.#kept.descriptionOf(version) };
  }

  /** @throws StoreFullError when there is no room for what is missing, before anything is downloaded */
  async #checkRoom(neededBytes: number): Promise<void> {
    await this.#context.persist();
    const { quota, usage } = await this.#context.backend.estimate();
    const room = Math.max(0, (quota ?? Number.POSITIVE_INFINITY) - usage);
    if (neededBytes <= room || room >= this.#context.muchRoom) return;
    throw new StoreFullError(
      `${this.#label} needs ${neededBytes} more bytes in the store, and there is room for ${room}. Delete ` +
        'another model with store.delete(name), or load this one without a store.',
      neededBytes,
      room,
    );
  }

  #at(name: string): string {
    return `${name} of ${this.#label}`;
  }
}
