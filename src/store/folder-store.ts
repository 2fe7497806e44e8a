/** @file A store in a folder of this computer, for Node. Several processes may use one folder. */
import { createHash, randomUUID } from 'node:crypto';
import { appendFile, mkdir, readdir, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { InvalidInputError, StoreFullError, StoreUnavailableError } from '../errors.ts';
import type { UrlReaderOptions } from '../sources/url-reader.ts';
import { DiskBackend } from './backend.ts';
import type { CreateHasher, Disk } from './disk.ts';
import { type Locks, processLocks } from './locks.ts';
import { createStore } from './store.ts';
import type { Store } from './types.ts';

export interface FolderStoreOptions {
  /** The store never becomes larger; what does not fit is a StoreFullError. Default: what the disk has. */
  maxBytes?: number | undefined;
}

/** Settings that tests make smaller. */
export interface FolderStoreInternals {
  chunkBytes?: number | undefined;
  reading?: UrlReaderOptions | undefined;
}

/** By absolute path: stores of one folder in one process share their locks. */
const locksOf = new Map<string, Locks>();

/**
 * Keeps checkpoints in a folder, which is made with the first of them.
 * @throws InvalidInputError when maxBytes is not a number of bytes
 */
export function folderStore(path: string, options: FolderStoreOptions = {}): Store {
  return openFolderStore(path, options);
}

export function openFolderStore(
  path: string,
  { maxBytes }: FolderStoreOptions = {},
  internals: FolderStoreInternals = {},
): Store {
  if (maxBytes !== undefined && !(Number.isSafeInteger(maxBytes) && maxBytes > 0)) {
    throw new InvalidInputError(`maxBytes is ${maxBytes}, wanted a positive integer, in bytes`);
  }
  const root = resolve(path);
  const locks = locksOf.get(root) ?? processLocks();
  locksOf.set(root, locks);
  return createStore({
    backend: new DiskBackend(folderDisk(root, maxBytes), nodeHash),
    locks,
    persist: () => Promise.resolve(true),
    close: () => undefined,
    ...internals,
  });
}

const nodeHash: CreateHasher = (kind) => {
  const hash = createHash(kind);
  return { update: (bytes) => void hash.update(bytes), hex: () => hash.digest('hex') };
};

function folderDisk(root: string, maxBytes: number | undefined): Disk {
  let used: Promise<number> | undefined;

  async function countUsed(): Promise<number> {
    const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => []);
    const files = entries.filter((entry) => entry.isFile());
    const sizes = await Promise.all(files.map((file) => sizeOf(join(file.parentPath, file.name))));
    return sizes.reduce((sum, size) => sum + size, 0);
  }

  function usedBytes(): Promise<number> {
    used ??= countUsed();
    return used;
  }

  function addUsed(bytes: number): void {
    used = used?.then((sum) => sum + bytes);
  }

  async function change<T>(path: string, numBytes: number, work: () => Promise<T>): Promise<T> {
    if (maxBytes !== undefined) {
      const free = maxBytes - (await usedBytes());
      if (numBytes > free) throw full(path, numBytes, Math.max(0, free));
    }
    try {
      await mkdir(dirname(path), { recursive: true });
      return await work();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      throw code === 'ENOSPC' || code === 'EDQUOT' ? full(path, numBytes, undefined) : unusable(path, error);
    }
  }

  function full(path: string, needed: number, free: number | undefined): StoreFullError {
    const found = maxBytes === undefined ? 'the disk is full' : `maxBytes is ${maxBytes}`;
    return new StoreFullError(
      `${path}: no room for ${needed} more bytes, ${found}. Delete a model with store.delete(name), or make room; then load ` +
        'again, which goes on from here.',
      needed,
      free,
    );
  }

  return {
    async read(path) {
      try {
        return await readFile(join(root, path));
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw unusable(join(root, path), error);
      }
    },

    async write(path, bytes) {
      const target = join(root, path);
      const temporary = `${target}.${randomUUID()}`;
      await change(target, bytes.length, async () => {
        const before = maxBytes === undefined ? 0 : await sizeOf(target);
        try {
          await writeFile(temporary, bytes);
          await rename(temporary, target);
        } catch (error) {
          await rm(temporary, { force: true });
          throw error;
        }
        addUsed(bytes.length - before);
      });
    },

    async append(path, bytes) {
      await change(join(root, path), bytes.length, () => appendFile(join(root, path), bytes));
      addUsed(bytes.length);
    },

    async remove(path) {
      const size = maxBytes === undefined ? 0 : await sizeOf(join(root, path));
      await rm(join(root, path), { force: true });
      addUsed(-size);
    },

    async list(folder) {
      const names = await readdir(join(root, folder)).catch((error) => {
        if (isMissing(error)) return [];
        throw unusable(join(root, folder), error);
      });
      return Promise.all(names.map(async (name) => ({ name, size: await sizeOf(join(root, folder, name)) })));
    },

    async estimate() {
      const usage = await countUsed();
      if (maxBytes !== undefined) return { quota: maxBytes, usage };
      const disk = await statfs(root).catch(() => undefined);
      return { quota: disk && usage + disk.bavail * disk.bsize, usage };
    },
  };
}

async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.size ?? 0;
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

function unusable(path: string, error: unknown): StoreUnavailableError {
  return new StoreUnavailableError(
    `${path}: the store cannot be used (${(error as Error).message}). Check the folder and its permissions.`,
  );
}
