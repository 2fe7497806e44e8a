/**
 * @file Files in the origin private file system, through synchronous access handles: in a worker only. A handle is open for
 * one operation and under a lock, since a second one on the same file, in any tab, would be refused. Nothing is flushed: what
 * is lost in a power cut is found missing when it is read, and downloaded again.
 */
import { StoreFullError, StoreUnavailableError } from '../errors.ts';
import type { Disk } from './disk.ts';
import type { StoreEstimate } from './types.ts';

/** What only workers have is missing from TypeScript's DOM library. */
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

export class OpfsDisk implements Disk {
  readonly #root: string;
  readonly #top: FileSystemDirectoryHandle;
  readonly #folders = new Map<string, Promise<FileSystemDirectoryHandle>>();

  private constructor(root: string, top: FileSystemDirectoryHandle) {
    this.#root = root;
    this.#top = top;
  }

  /** @param root name of the store's folder */
  static async open(root: string): Promise<OpfsDisk> {
    const origin = await navigator.storage.getDirectory();
    return new OpfsDisk(root, await origin.getDirectoryHandle(root, { create: true }));
  }

  async read(path: string): Promise<Uint8Array | undefined> {
    try {
      return await this.#withFile(path, false, (file) => {
        const bytes = new Uint8Array(file.getSize());
        return bytes.subarray(0, file.read(bytes, { at: 0 }));
      });
    } catch (error) {
      throw unusable(path, error);
    }
  }

  async write(path: string, bytes: Uint8Array): Promise<void> {
    try {
      await this.#change(path, bytes.length, (file) => {
        file.truncate(0);
        writeAll(file, bytes, 0);
      });
    } catch (error) {
      await this.remove(path);
      throw error;
    }
  }

  append(path: string, bytes: Uint8Array): Promise<void> {
    return this.#change(path, bytes.length, (file) => writeAll(file, bytes, file.getSize()));
  }

  async remove(path: string): Promise<void> {
    const [folder = '', name = ''] = path.split('/');
    await this.#locked(path, async () => {
      try {
        await (await this.#folder(folder)).removeEntry(name);
      } catch (error) {
        if (!isNamed(error, 'NotFoundError')) throw unusable(path, error);
      }
    });
  }

  async list(folder: string): Promise<{ name: string; size: number }[]> {
    const files: { name: string; size: number }[] = [];
    try {
      for await (const [name, handle] of (await this.#folder(folder)).entries()) {
        if (handle.kind !== 'file') continue;
        const file = await (handle as FileSystemFileHandle).getFile().catch(() => undefined);
        if (file) files.push({ name, size: file.size });
      }
    } catch (error) {
      throw unusable(folder, error);
    }
    return files;
  }

  async estimate(): Promise<StoreEstimate> {
    const { quota, usage = 0 } = await navigator.storage.estimate();
    return { quota, usage };
  }

  #folder(name: string): Promise<FileSystemDirectoryHandle> {
    let folder = this.#folders.get(name);
    if (!folder) {
      folder = this.#top.getDirectoryHandle(name, { create: true });
      folder.catch(() => this.#folders.delete(name));
      this.#folders.set(name, folder);
    }
    return folder;
  }

  #locked<T>(path: string, work: () => Promise<T>): Promise<T> {
    return navigator.locks.request(`shaderloom-disk/${this.#root}/${path}`, work) as Promise<T>;
  }

  /** Undefined if there is no such file. */
  #withFile<T>(path: string, create: boolean, use: (file: SyncAccessHandle) => T): Promise<T | undefined> {
    const [folder = '', name = ''] = path.split('/');
    return this.#locked(path, async () => {
      try {
        const handle = await (await this.#folder(folder)).getFileHandle(name, { create });
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

  async #change(path: string, numBytes: number, use: (file: SyncAccessHandle) => void): Promise<void> {
    try {
      await this.#withFile(path, true, use);
    } catch (error) {
      if (isNamed(error, 'QuotaExceededError')) throw await full(numBytes);
      throw unusable(path, error);
    }
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
