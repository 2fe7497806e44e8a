/**
 * @file The part of a store that works on its disk: chunks by their sha256, journals of files, logs of models. In a browser
 * it runs in a worker. It hands out only bytes that it has verified; it must not know where bytes come from.
 *
 * `chunks/<sha256>` is a chunk, shared by all files that have it. `files/<id>` is the journal of one version of one file; its
 * owner makes the id from what identifies the version. `models/<id>` says which files make a model, and `refs/<id>` which
 * commit a branch was at last; both are journals as well. `used/<id>` says when the model was used last.
 */

import type { CreateHasher, Disk, Hasher } from './disk.ts';
import { sha256 as digest } from './disk.ts';
import {
  applyRecord,
  chunkLength,
  decodeRecords,
  digestOf,
  encodeRecord,
  type FileDescription,
  type FileRecord,
  type FileState,
  isComplete,
  numChunks,
  presentBytes,
  readFileState,
} from './journal.ts';
import { type ModelRecord, type ModelState, readModelState } from './model-log.ts';
import type { StoreEstimate } from './types.ts';

export interface FileStatus {
  description: FileDescription;
  /** The missing chunks, ascending. */
  missing: number[];
  storedBytes: number;
  isComplete: boolean;
}

export interface ModelSummary {
  id: string;
  name: string;
  revision: string | undefined;
  storedBytes: number;
  totalBytes: number;
  isComplete: boolean;
  /** Milliseconds since 1970; 0 when unknown. */
  lastUsed: number;
}

/** Everything is asynchronous and plain data, so that it can run in a worker. */
export interface Backend {
  /** Begins a file's journal, or continues it. `isFresh`: an incomplete file is begun again. */
  openFile(id: string, description: FileDescription, isFresh: boolean): Promise<FileStatus>;
  fileStatus(id: string): Promise<FileStatus | undefined>;
  /**
   * Keeps a chunk of an open file. `bytes` belong to the store from now on.
   * False: it differs from when the file was verified, and is not kept.
   */
  putChunk(id: string, index: number, bytes: Uint8Array): Promise<boolean>;
  /** Verified bytes. Undefined: the chunk is gone; a damaged one is thrown away. */
  readChunk(id: string, index: number): Promise<Uint8Array | undefined>;
  /** Ends a file that has all its chunks. False: its hash is wrong, and its chunks no longer count. */
  verifyFile(id: string): Promise<boolean>;
  readLog(path: string): Promise<object[]>;
  appendLog(path: string, records: readonly object[]): Promise<void>;
  markUsed(modelId: string, time: number): Promise<void>;
  listModels(): Promise<ModelSummary[]>;
  /** Forgets models, and deletes everything that no other model needs. Nothing else may use the store meanwhile. */
  deleteModels(ids: readonly string[]): Promise<void>;
  storedBytes(): Promise<number>;
  estimate(): Promise<StoreEstimate>;
}

const FOLDERS = ['chunks', 'files', 'models', 'refs', 'used'];

interface OpenFile {
  state: FileState;
  /** The hash of the chunks before `next`, if the file has a hash. */
  hasher: Hasher | undefined;
  next: number;
}

export class DiskBackend implements Backend {
  readonly #disk: Disk;
  readonly #createHasher: CreateHasher;
  readonly #open = new Map<string, OpenFile>();

  constructor(disk: Disk, createHasher: CreateHasher) {
    this.#disk = disk;
    this.#createHasher = createHasher;
  }

  async openFile(id: string, description: FileDescription, isFresh: boolean): Promise<FileStatus> {
    let state = await this.#readState(id);
    if (!state) {
      await this.#disk.append(journalOf(id), encodeRecord({ file: description } satisfies FileRecord));
      state = readFileState([{ file: description }])!;
    } else if (isFresh && !state.isVerified && state.present.size > 0)
      await this.#record(id, state, { reset: true });
    this.#keep(id, state);
    return statusOf(state);
  }

  async fileStatus(id: string): Promise<FileStatus | undefined> {
    const state = await this.#readState(id);
    return state && statusOf(state);
  }

  async putChunk(id: string, index: number, bytes: Uint8Array): Promise<boolean> {
    const file = this.#open.get(id)!;
    const { state } = file;
    const hash = await digest(bytes);
    if (state.isVerified && hash !== state.hashes[index]) return false;
    await this.#writeChunk(hash, bytes);
    await this.#record(id, state, { chunk: index, sha256: hash });
    if (index === file.next) {
      file.hasher?.update(bytes);
      file.next += 1;
    } else if (index < file.next) {
      file.hasher = startHash(state.description, this.#createHasher);
      file.next = 0;
    }
    return true;
  }

  async readChunk(id: string, index: number): Promise<Uint8Array | undefined> {
    let state = this.#open.get(id)?.state;
    // Another tab may have written to it since.
    if (!state?.present.has(index)) state = await this.#readState(id);
    if (!state) return undefined;
    if (this.#open.get(id)?.state !== state) this.#keep(id, state);
    const bytes = await this.#readVerified(state, index);
    if (bytes || !state.present.has(index)) return bytes;
    await this.#disk.remove(chunkPath(state.hashes[index]!));
    await this.#record(id, state, { lost: index });
    return undefined;
  }

  async verifyFile(id: string): Promise<boolean> {
    const file = this.#open.get(id)!;
    const { state, hasher } = file;
    const { hash } = state.description;
    if (state.isVerified) return true;
    if (hash && hasher) {
      while (file.next < numChunks(state.description)) {
        const bytes = await this.readChunk(id, file.next);
        if (!bytes) return false; // it was damaged, and is missing now
        hasher.update(bytes);
        file.next += 1;
      }
      if (hasher.hex() !== hash.hex) {
        await this.#record(id, state, { reset: true });
        this.#keep(id, state);
        await this.#collectChunks();
        return false;
      }
    }
    await this.#record(id, state, { verified: digestOf(state.hashes) });
    return true;
  }

  async readLog(path: string): Promise<object[]> {
    const bytes = await this.#disk.read(path);
    return bytes ? decodeRecords(bytes) : [];
  }

  async appendLog(path: string, records: readonly object[]): Promise<void> {
    for (const entry of records) await this.#disk.append(path, encodeRecord(entry));
  }

  markUsed(modelId: string, time: number): Promise<void> {
    return this.#disk.write(`used/${modelId}`, new TextEncoder().encode(String(time)));
  }

  async listModels(): Promise<ModelSummary[]> {
    const models: ModelSummary[] = [];
    for (const { name } of await this.#disk.list('models')) {
      const model = await this.#summarise(name);
      if (model) models.push(model);
    }
    return models.sort((a, b) => b.lastUsed - a.lastUsed);
  }

  async deleteModels(ids: readonly string[]): Promise<void> {
    this.#open.clear();
    for (const id of ids) {
      // In this order, so that a model whose deletion is cut off here is still listed, and can be deleted again.
      await this.#disk.remove(`used/${id}`);
      await this.#disk.remove(`models/${id}`);
    }
    const wanted = new Set<string>();
    for (const { name } of await this.#disk.list('models')) {
      for (const { id } of (await this.#readModel(name))?.files.values() ?? []) wanted.add(id);
    }
    for (const { name } of await this.#disk.list('files'))
      if (!wanted.has(name)) await this.#disk.remove(journalOf(name));
    await this.#collectChunks();
  }

  async storedBytes(): Promise<number> {
    const lists = await Promise.all(FOLDERS.map((folder) => this.#disk.list(folder)));
    return lists.flat().reduce((sum, { size }) => sum + size, 0);
  }

  estimate(): Promise<StoreEstimate> {
    return this.#disk.estimate();
  }

  async #readState(id: string): Promise<FileState | undefined> {
    return readFileState(await this.readLog(journalOf(id)));
  }

  #keep(id: string, state: FileState): void {
    this.#open.set(id, { state, hasher: startHash(state.description, this.#createHasher), next: 0 });
  }

  async #record(
    id: string,
    state: FileState,
    entry: Exclude<FileRecord, { file: FileDescription }>,
  ): Promise<void> {
    await this.#disk.append(journalOf(id), encodeRecord(entry));
    applyRecord(state, entry);
  }

  /** The bytes of a chunk, if they are right. */
  async #readVerified(state: FileState, index: number): Promise<Uint8Array | undefined> {
    const hash = state.hashes[index];
    if (hash === undefined || !state.present.has(index)) return undefined;
    const bytes = await this.#disk.read(chunkPath(hash));
    const isRight = bytes?.length === chunkLength(state.description, index) && (await digest(bytes)) === hash;
    return isRight ? bytes : undefined;
  }

  async #writeChunk(hash: string, bytes: Uint8Array): Promise<void> {
    const present = await this.#disk.read(chunkPath(hash));
    const isThere = present?.length === bytes.length && (await digest(present)) === hash;
    if (!isThere) await this.#disk.write(chunkPath(hash), bytes);
  }

  /** Removes the chunks that no journal knows. If one was just about to be listed, it is only downloaded again. */
  async #collectChunks(): Promise<void> {
    const known = new Set<string | undefined>();
    for (const { name } of await this.#disk.list('files')) {
      const state = await this.#readState(name);
      for (const index of state?.present ?? []) known.add(state!.hashes[index]);
    }
    for (const { name } of await this.#disk.list('chunks'))
      if (!known.has(name)) await this.#disk.remove(chunkPath(name));
  }

  async #readModel(id: string): Promise<ModelState | undefined> {
    return readModelState((await this.readLog(`models/${id}`)) as ModelRecord[]);
  }

  async #summarise(id: string): Promise<ModelSummary | undefined> {
    const model = await this.#readModel(id);
    if (!model || model.files.size === 0) return undefined;
    let storedBytes = 0;
    let totalBytes = 0;
    let isWhole = model.isComplete;
    for (const file of model.files.values()) {
      const state = await this.#readState(file.id);
      totalBytes += file.size;
      if (state) storedBytes += presentBytes(state);
      isWhole &&= state !== undefined && isComplete(state);
    }
    const used = await this.#disk.read(`used/${id}`);
    const lastUsed = Number(new TextDecoder().decode(used)) || 0;
    const { name, revision } = model;
    return { id, name, revision, storedBytes, totalBytes, isComplete: isWhole, lastUsed };
  }
}

const journalOf = (id: string): string => `files/${id}`;
const chunkPath = (hash: string): string => `chunks/${hash}`;

function statusOf(state: FileState): FileStatus {
  const all = Array.from({ length: numChunks(state.description) }, (_, index) => index);
  return {
    description: state.description,
    missing: all.filter((index) => !state.present.has(index)),
    storedBytes: presentBytes(state),
    isComplete: isComplete(state),
  };
}

function startHash({ hash, size }: FileDescription, createHasher: CreateHasher): Hasher | undefined {
  if (!hash) return undefined;
  const hasher = createHasher(hash.kind === 'sha256' ? 'sha256' : 'sha1');
  if (hash.kind === 'git-sha1') hasher.update(new TextEncoder().encode(`blob ${size}\0`));
  return hasher;
}
