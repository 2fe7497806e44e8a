/**
 * @file The part of a store that works on its disk: chunks by their sha256, journals of files, logs of models. In a browser
 * it runs in a worker. It hands out no byte that it has not verified; it must not know where bytes come from.
 *
 * `chunks/<sha256>` is a chunk of any file that has it. `files/<id>` is the journal of one version of one file, whose id its
 * owner makes of what identifies the version. `models/<id>` says which files make a model, and `refs/<id>` what a branch
 * was last; both are journals as well. `used/<id>` is when the model was used last.
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
import { type ModelRecord, readModelState } from './model-log.ts';
import type { StoreEstimate } from './types.ts';

export interface FileStatus {
  description: FileDescription;
  /** Chunks that are not there, ascending. */
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

/** Everything is asynchronous and of plain data, so that a worker may stand between. */
export interface Backend {
  /** Begins a file's journal, or takes it up. `isFresh`: what is incomplete is begun again. */
  openFile(id: string, description: FileDescription, isFresh: boolean): Promise<FileStatus>;
  fileStatus(id: string): Promise<FileStatus | undefined>;
  /**
   * Keeps a chunk of an open file. `bytes` belong to the store from now on.
   * False: it is not what it was when the file was verified, and is not kept.
   */
  putChunk(id: string, index: number, bytes: Uint8Array): Promise<boolean>;
  /** Verified bytes. Undefined: the chunk is not there any more; if it was damaged it is thrown away. */
  readChunk(id: string, index: number): Promise<Uint8Array | undefined>;
  /** Ends a file all of whose chunks are there. False: it has not the hash it should have, and its chunks no longer count. */
  verifyFile(id: string): Promise<boolean>;
  readLog(path: string): Promise<object[]>;
  appendLog(path: string, records: readonly object[]): Promise<void>;
  markUsed(modelId: string, time: number): Promise<void>;
  listModels(): Promise<ModelSummary[]>;
  /** Forgets models, and deletes whatever no other one needs. Nothing else may be going on. */
  deleteModels(ids: readonly string[]): Promise<void>;
  storedBytes(): Promise<number>;
  estimate(): Promise<StoreEstimate>;
}

const FOLDERS = ['chunks', 'files', 'models', 'refs', 'used'];

interface OpenFile {
  state: FileState;
  /** Over the chunks before `next`, where the file has a hash. */
  hasher: Hasher | undefined;
  next: number;
}

export function createBackend(disk: Disk, createHasher: CreateHasher): Backend {
  const open = new Map<string, OpenFile>();

  const journalOf = (id: string) => `files/${id}`;
  const chunkPath = (hash: string) => `chunks/${hash}`;

  async function readJournal(path: string): Promise<object[]> {
    const bytes = await disk.read(path);
    return bytes ? decodeRecords(bytes) : [];
  }

  async function readState(id: string): Promise<FileState | undefined> {
    return readFileState(await readJournal(journalOf(id)));
  }

  function keep(id: string, state: FileState): OpenFile {
    const file = { state, hasher: startHash(state.description, createHasher), next: 0 };
    open.set(id, file);
    return file;
  }

  async function record(
    id: string,
    state: FileState,
    entry: Exclude<FileRecord, { file: FileDescription }>,
  ): Promise<void> {
    await disk.append(journalOf(id), encodeRecord(entry));
    applyRecord(state, entry);
  }

  /** Bytes of a chunk if they are what they should be. */
  async function readVerified(state: FileState, index: number): Promise<Uint8Array | undefined> {
    const hash = state.hashes[index];
    if (hash === undefined || !state.present.has(index)) return undefined;
    const bytes = await disk.read(chunkPath(hash));
    const isRight = bytes?.length === chunkLength(state.description, index) && (await digest(bytes)) === hash;
    return isRight ? bytes : undefined;
  }

  async function readChunk(id: string, index: number): Promise<Uint8Array | undefined> {
    let state = open.get(id)?.state;
    // Another tab may have written since.
    if (!state?.present.has(index)) state = await readState(id);
    if (!state) return undefined;
    if (open.get(id)?.state !== state) keep(id, state);
    const bytes = await readVerified(state, index);
    if (bytes || !state.present.has(index)) return bytes;
    await disk.remove(chunkPath(state.hashes[index]!));
    await record(id, state, { lost: index });
    return undefined;
  }

  async function writeChunk(hash: string, bytes: Uint8Array): Promise<void> {
    const present = await disk.read(chunkPath(hash));
    const isThere = present?.length === bytes.length && (await digest(present)) === hash;
    if (!isThere) await disk.write(chunkPath(hash), bytes);
  }

  async function putChunk(id: string, index: number, bytes: Uint8Array): Promise<boolean> {
    const file = open.get(id)!;
    const { state } = file;
    const hash = await digest(bytes);
    if (state.isVerified && hash !== state.hashes[index]) return false;
    await writeChunk(hash, bytes);
    await record(id, state, { chunk: index, sha256: hash });
    if (index === file.next) {
      file.hasher?.update(bytes);
      file.next += 1;
    } else if (index < file.next)
      Object.assign(file, { hasher: startHash(state.description, createHasher), next: 0 });
    return true;
  }

  async function verifyFile(id: string): Promise<boolean> {
    const file = open.get(id)!;
    const { state, hasher } = file;
    const { hash } = state.description;
    if (state.isVerified) return true;
    if (hash && hasher) {
      while (file.next < numChunks(state.description)) {
        const bytes = await readChunk(id, file.next);
        if (!bytes) return false; // was damaged, and is missing now
        hasher.update(bytes);
        file.next += 1;
      }
      if (hasher.hex() !== hash.hex) {
        await record(id, state, { reset: true });
        keep(id, state);
        await collectChunks();
        return false;
      }
    }
    await record(id, state, { verified: digestOf(state.hashes) });
    return true;
  }

  /** Removes the chunks that no journal knows. One that is about to be known only has to be downloaded again. */
  async function collectChunks(): Promise<void> {
    const known = new Set<string | undefined>();
    for (const { name } of await disk.list('files')) {
      const state = await readState(name);
      for (const index of state?.present ?? []) known.add(state!.hashes[index]);
    }
    for (const { name } of await disk.list('chunks'))
      if (!known.has(name)) await disk.remove(chunkPath(name));
  }

  async function readModel(id: string) {
    return readModelState((await readJournal(`models/${id}`)) as ModelRecord[]);
  }

  async function summarise(id: string): Promise<ModelSummary | undefined> {
    const model = await readModel(id);
    if (!model || model.files.size === 0) return undefined;
    let storedBytes = 0;
    let totalBytes = 0;
    let isWhole = model.isComplete;
    for (const file of model.files.values()) {
      const state = await readState(file.id);
      totalBytes += file.size;
      if (state) storedBytes += presentBytes(state);
      isWhole &&= state !== undefined && isComplete(state);
    }
    const used = await disk.read(`used/${id}`);
    const lastUsed = Number(new TextDecoder().decode(used)) || 0;
    const { name, revision } = model;
    return { id, name, revision, storedBytes, totalBytes, isComplete: isWhole, lastUsed };
  }

  function statusOf(state: FileState): FileStatus {
    const all = Array.from({ length: numChunks(state.description) }, (_, index) => index);
    return {
      description: state.description,
      missing: all.filter((index) => !state.present.has(index)),
      storedBytes: presentBytes(state),
      isComplete: isComplete(state),
    };
  }

  return {
    async openFile(id, description, isFresh) {
      let state = await readState(id);
      if (!state) {
        await disk.append(journalOf(id), encodeRecord({ file: description } satisfies FileRecord));
        state = readFileState([{ file: description }])!;
      } else if (isFresh && !state.isVerified && state.present.size > 0)
        await record(id, state, { reset: true });
      keep(id, state);
      return statusOf(state);
    },
    async fileStatus(id) {
      const state = await readState(id);
      return state && statusOf(state);
    },
    putChunk,
    readChunk,
    verifyFile,
    readLog: readJournal,
    async appendLog(path, records) {
      for (const entry of records) await disk.append(path, encodeRecord(entry));
    },
    markUsed: (modelId, time) => disk.write(`used/${modelId}`, new TextEncoder().encode(String(time))),
    async listModels() {
      const models: ModelSummary[] = [];
      for (const { name } of await disk.list('models')) {
        const model = await summarise(name);
        if (model) models.push(model);
      }
      return models.sort((a, b) => b.lastUsed - a.lastUsed);
    },
    async deleteModels(ids) {
      open.clear();
      for (const id of ids) {
        // In this order: a model that is cut off here is still listed, and can be deleted again.
        await disk.remove(`used/${id}`);
        await disk.remove(`models/${id}`);
      }
      const wanted = new Set<string>();
      for (const { name } of await disk.list('models')) {
        for (const { id } of (await readModel(name))?.files.values() ?? []) wanted.add(id);
      }
      for (const { name } of await disk.list('files'))
        if (!wanted.has(name)) await disk.remove(journalOf(name));
      await collectChunks();
    },
    async storedBytes() {
      const lists = await Promise.all(FOLDERS.map((folder) => disk.list(folder)));
      return lists.flat().reduce((sum, { size }) => sum + size, 0);
    },
    estimate: () => disk.estimate(),
  };
}

function startHash({ hash, size }: FileDescription, createHasher: CreateHasher): Hasher | undefined {
  if (!hash) return undefined;
  const hasher = createHasher(hash.kind === 'sha256' ? 'sha256' : 'sha1');
  if (hash.kind === 'git-sha1') hasher.update(new TextEncoder().encode(`blob ${size}\0`));
  return hasher;
}
