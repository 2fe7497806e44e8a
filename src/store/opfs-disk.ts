/**
 * @file Files in the origin private file system, through synchronous access handles: in a worker only. A handle is open for
 * one operation and under a lock, since a second one on the same file, in whatever tab, would be refused. Nothing is flushed: what
 * a power cut takes is missed when it is read, and downloaded again.
 */
import { StoreFullError, StoreUnavailableError } from '../errors.ts';
import type { Disk } from './disk.ts';

/** TypeScript's DOM library leaves out what only workers have. */
interface SyncAccessHandle {
  getSize(): number;
  read(buffer: Uint8Array, options: { at: number }): number;
  write(buffer: Uint8Array, options: { at: number }): number;
  truncate(size: number): void;
  close(): void;
}

interface WorkerFileHandle extends FileSystemFileHandle {
  createSyncAccessHandle(): Promise<SyncAccessHandle>;
}

/** @param root name of the store's folder */
export async function opfsDisk(root: string): Promise<Disk> {
  const top = await (await navigator.storage.getDirectory()).getDirectoryHandle(root, { create: true });
  const folders = new Map<string, Promise<FileSystemDirectoryHandle>>();

  function folderOf(name: string): Promise<FileSystemDirectoryHandle> {
    let folder = folders.get(name);
    if (!folder) {
      folder = top.getDirectoryHandle(name, { create: true });
      folder.catch(() => folders.delete(name));
      folders.set(name, folder);
    }
    return folder;
  }

  /** Undefined: there is no such file. */
  function withFile<T>(
    path: string,
    create: boolean,
    use: (file: SyncAccessHandle) => T,
  ): Promise<T | undefined> {
    const [folder = '', name = ''] = path.split('/');
    return navigator.locks.request(`shaderloom-disk/${root}/${path}`, async () => {
      try {
        const handle = await (await folderOf(folder)).getFileHandle(name, { create });
        const file = await (handle as WorkerFileHandle).createSyncAccessHandle();
        try {
          return use(file);
        } finally {
          file.close();
        }
      } catch (error) {
        if (isNamed(error, 'NotFoundError') && !create) return undefined;
        throw error;
      }
    });
  }

  async function change(
    path: string,
    numBytes: number,
    use: (file: SyncAccessHandle) => void,
  ): Promise<void> {
    try {
      await withFile(path, true, use);
    } catch (error) {
      if (isNamed(error, 'QuotaExceededError')) throw await full(numBytes);
      throw unusable(path, error);
    }
  }

  async function full(numBytes: number): Promise<StoreFullError> {
    const { quota = 0, usage = 0 } = await navigator.storage.estimate();
    const free = Math.max(0, quota - usage);
    return new StoreFullError(
      `The browser gives this site no room for ${numBytes} more bytes (${free} bytes are free). Delete a model with ` +
        'store.delete(name), or make room on the disk; then load again, which goes on from here.',
      numBytes,
      free,
    );
  }

  async function remove(path: string): Promise<void> {
    const [folder = '', name = ''] = path.split('/');
    await navigator.locks.request(`shaderloom-disk/${root}/${path}`, async () => {
      try {
        await (await folderOf(folder)).removeEntry(name);
      } catch (error) {
        if (!isNamed(error, 'NotFoundError')) throw unusable(path, error);
      }
    });
  }

  return {
    async read(path) {
      try {
        return await withFile(path, false, (file) => {
          const bytes = new Uint8Array(file.getSize());
          return bytes.subarray(0, file.read(bytes, { at: 0 }));
        });
      } catch (error) {
        throw unusable(path, error);
      }
    },

    async write(path, bytes) {
      try {
        await change(path, bytes.length, (file) => {
          file.truncate(0);
          writeAll(file, bytes, 0);
        });
      } catch (error) {
        await remove(path);
        throw error;
      }
    },

    append: (path, bytes) => change(path, bytes.length, (file) => writeAll(file, bytes, file.getSize())),

    remove,

    async list(folder) {
      const files: { name: string; size: number }[] = [];
      try {
        for await (const [name, handle] of (await folderOf(folder)).entries()) {
          if (handle.kind !== 'file') continue;
          const file = await (handle as FileSystemFileHandle).getFile().catch(() => undefined);
          if (file) files.push({ name, size: file.size });
        }
      } catch (error) {
        throw unusable(folder, error);
      }
      return files;
    },

    async estimate() {
      const { quota, usage = 0 } = await navigator.storage.estimate();
      return { quota, usage };
    },
  };
}

function writeAll(file: SyncAccessHandle, bytes: Uint8Array, at: number): void {
  for (let done = 0; done < bytes.length; ) {
    const numBytes = file.write(bytes.subarray(done), { at: at + done });
    if (numBytes === 0) throw new DOMException('nothing more is written', 'QuotaExceededError');
    done += numBytes;
  }
}

function isNamed(error: unknown, name: string): boolean {
  return (error as Error | undefined)?.name === name;
}

function unusable(path: string, error: unknown): Error {
  if (error instanceof StoreFullError) return error;
  const { name, message } = error as Error;
  return new StoreUnavailableError(
    `The browser's storage cannot be used (${path}: ${name}, ${message}). Is the page open in a private window, or were its ` +
      'data cleared while it was open? Load it again.',
  );
}
