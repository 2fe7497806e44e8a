/**
 * @file Finds which version of a checkpoint's file is meant: by its hub's listing, by what the store knows of a commit, or by the
 * beginning that a server sends. It must not know how files are kept.
 */
import { TemporaryError } from '../sources/http.ts';
import { isCommit } from '../sources/hub-listing.ts';
import { checkName, type FileStart, type ReadOptions } from '../sources/source.ts';
import type { Backend } from './backend.ts';
import { sha256 } from './disk.ts';
import type { Version } from './kept-files.ts';
import { holdStore, type Locks } from './locks.ts';
import type { Origin, Snapshot } from './snapshot.ts';

/** Bytes that identify a version of a folder's file, besides size and ETag: the header of most shards. */
export const PROBE_BYTES = 64 * 1024;

/** Remembers what worked: after a failure the next call tries again. */
export class FileVersions {
  readonly #origin: Origin;
  readonly #backend: Backend;
  readonly #locks: Locks;
  readonly #versions = new Map<string, Promise<Version | undefined>>();
  readonly #probes = new Map<string, FileStart>();
  #opening: Promise<Snapshot> | undefined;

  constructor(origin: Origin, backend: Backend, locks: Locks) {
    this.#origin = origin;
    this.#backend = backend;
    this.#locks = locks;
  }

  /** The version of the checkpoint that its files belong to. */
  snapshot(options: ReadOptions): Promise<Snapshot> {
    this.#opening ??= holdStore(this.#locks, options, () => this.#origin.open(options)).catch((error) => {
      this.#opening = undefined;
      throw error;
    });
    return this.#opening;
  }

  /** Undefined: there is no such file. */
  of(name: string, options: ReadOptions): Promise<Version | undefined> {
    checkName(name, this.#origin.label);
    const known = this.#versions.get(name);
    if (known) return known;
    const finding = this.snapshot(options)
      .then((snapshot) => this.#find(snapshot, name, options))
      .catch((error) => {
        this.#versions.delete(name);
        throw error;
      });
    this.#versions.set(name, finding);
    return finding;
  }

  /** The first `PROBE_BYTES` bytes of a file, where its version was found by them. */
  probed(name: string): FileStart | undefined {
    return this.#probes.get(name);
  }

  async #find(snapshot: Snapshot, name: string, options: ReadOptions): Promise<Version | undefined> {
    const { listing, revision } = snapshot.state;
    const listed = listing && Object.hasOwn(listing.files, name) ? listing.files[name] : undefined;
    if (listed?.hash) {
      const { hash, size } = listed;
      return { name, id: `${hash.kind}-${hash.hex}-${size}`, size, hash, canResume: true };
    }
    if (listing?.isWhole && !listed) return undefined;
    if (revision !== undefined && isCommit(revision)) {
      // A commit never changes: what is here is right.
      const stored = storedVersion(snapshot, name);
      if (stored && (await this.#backend.fileStatus(stored.id))?.isComplete) return stored;
    }
    return this.#probe(snapshot, name, options);
  }

  /** Asks the server for the beginning of a file, and identifies its version by that. */
  async #probe(snapshot: Snapshot, name: string, options: ReadOptions): Promise<Version | undefined> {
    const { state, upstream } = snapshot;
    let start: FileStart | undefined;
    try {
      start = await upstream.readStart(name, PROBE_BYTES, options);
    } catch (error) {
      const stored = storedVersion(snapshot, name);
      if (!(error instanceof TemporaryError) || !(stored || state.absent.has(name))) throw error;
      return stored;
    }
    if (!start) {
      if (!state.absent.has(name)) await snapshot.record({ absent: name });
      return undefined;
    }
    const { bytes, etag } = start;
    this.#probes.set(name, start);
    const told = start.size ?? (bytes.length < PROBE_BYTES ? bytes.length : undefined);
    const facts = [snapshot.id, name, told ?? '', etag ?? '', await sha256(bytes)];
    const id = await sha256(facts.join('\n'));
    const stored = state.files.get(name);
    const size = told ?? (stored?.id === id ? stored.size : Number.NaN);
    return { name, id, size, hash: undefined, canResume: etag !== undefined && told !== undefined };
  }
}

/** The version that the model had at last. */
function storedVersion({ state }: Snapshot, name: string): Version | undefined {
  const stored = state.files.get(name);
  return stored && { name, ...stored, hash: undefined, canResume: false };
}
