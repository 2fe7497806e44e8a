/**
 * @file What Node needs beside the library: checkpoints in folders, a GPU, and a server. Published as `shaderloom/node`.
 * The rest of the library must not import it.
 */
import { type FileHandle, open, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CorruptCheckpointError, SourceError, WebGPUUnavailableError } from './errors.ts';
import {
  checkFileSize,
  checkName,
  DEFAULT_MAX_FILE_BYTES,
  type RangeReader,
  type Source,
  streamRanges,
} from './sources/source.ts';

export { type RunningServer, type ServedRequest, type ServeOptions, serve } from './serve.ts';
export { type FolderStoreOptions, folderStore } from './store/folder-store.ts';

/** Bytes per read: enough for a disk's full speed, small beside a model. */
const CHUNK_BYTES = 4 * 1024 * 1024;

/**
 * A checkpoint of this computer. Nothing is read, and no error thrown, before the first file is asked for.
 * @param given path of the folder that holds config.json, or of a GGUF file
 */
export function folder(given: string): Source {
  const file = /\.gguf$/i.test(given) ? basename(given) : undefined;
  const path = file === undefined ? given : dirname(given);
  /** Undefined when the folder is there and the file is not. */
  async function openFile(name: string): Promise<FileHandle | undefined> {
    checkName(name, path);
    try {
      return await open(join(path, name));
    } catch (error) {
      if (!isMissing(error)) throw unreadable(join(path, name), error);
    }
    await checkFolder(path);
    return undefined;
  }

  async function withFile<T>(
    name: string,
    signal: AbortSignal | undefined,
    use: (file: FileHandle, size: number) => Promise<T>,
  ): Promise<T | undefined> {
    signal?.throwIfAborted();
    const file = await openFile(name);
    if (!file) return undefined;
    try {
      const { size } = await file.stat();
      signal?.throwIfAborted();
      return await use(file, size);
    } finally {
      await file.close();
    }
  }

  return {
    label: path,
    file,

    readFile(name, options = {}) {
      return withFile(name, options.signal, async (file, size) => {
        const where = join(path, name);
        checkFileSize(size, options.maxBytes ?? DEFAULT_MAX_FILE_BYTES, where);
        return readUpTo(file, size, where);
      });
    },

    readStart(name, maxBytes, options = {}) {
      return withFile(name, options.signal, async (file, size) => {
        return { bytes: await readUpTo(file, Math.min(maxBytes, size), join(path, name)), size };
      });
    },

    stream(name, ranges, options = {}) {
      const open = async () => {
        const file = await openFile(name);
        if (file) return file;
        throw new SourceError(
          `${join(path, name)}: there is no such file. Is every file of the checkpoint there?`,
        );
      };
      return streamRanges(ranges, createReader(join(path, name), open), options);
    },

    async list() {
      try {
        return await readdir(path);
      } catch (error) {
        throw unreadable(path, error);
      }
    },
  };
}

function createReader(where: string, openFile: () => Promise<FileHandle>): RangeReader {
  let file: FileHandle | undefined;
  let buffer = new Uint8Array(0);
  return {
    async next({ begin, end }, groupEnd) {
      file ??= await openFile();
      if (buffer.length < Math.min(CHUNK_BYTES, end - begin)) {
        buffer = new Uint8Array(Math.min(CHUNK_BYTES, groupEnd - begin));
      }
      const numBytes = await read(file, buffer, Math.min(buffer.length, end - begin), begin, where);
      if (numBytes > 0) return buffer.subarray(0, numBytes);
      throw new CorruptCheckpointError(
        `${where}: the file ends before byte ${begin}, wanted bytes up to ${groupEnd}: it is truncated. Download it again.`,
      );
    },
    async close() {
      await file?.close().catch(() => undefined);
      file = undefined;
    },
  };
}

async function readUpTo(file: FileHandle, maxBytes: number, where: string): Promise<Uint8Array> {
  const bytes = new Uint8Array(maxBytes);
  let length = 0;
  while (length < maxBytes) {
    const numBytes = await read(file, bytes.subarray(length), maxBytes - length, length, where);
    if (numBytes === 0) break;
    length += numBytes;
  }
  return bytes.subarray(0, length);
}

async function read(
  file: FileHandle,
  into: Uint8Array,
  length: number,
  position: number,
  where: string,
): Promise<number> {
  try {
    return (await file.read(into, 0, length, position)).bytesRead;
  } catch (error) {
    throw unreadable(where, error);
  }
}

async function checkFolder(path: string): Promise<void> {
  let isFolder: boolean;
  try {
    isFolder = (await stat(path)).isDirectory();
  } catch (error) {
    if (!isMissing(error)) throw unreadable(path, error);
    throw new SourceError(
      `${path}: there is no such folder. Give the path of a folder that holds config.json.`,
    );
  }
  if (!isFolder) throw new SourceError(`${path}: this is a file. Give the folder that holds config.json.`);
}

function isMissing(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ENOTDIR';
}

function unreadable(where: string, error: unknown): SourceError {
  return new SourceError(
    `${where}: cannot be read (${(error as Error).message}). Check that it is a file, and its permissions.`,
  );
}

/** Held for good: Dawn crashes when its instance is collected while a device lives. */
let dawn: GPU | undefined;

/**
 * WebGPU in Node, by the optional package `webgpu` (Dawn). Also defines WebGPU's globals (GPUBufferUsage and so on)
 * where they are missing, as the library and most WebGPU code name them.
 * @throws WebGPUUnavailableError when the package is not installed or cannot start
 */
export async function gpu(): Promise<GPU> {
  try {
    const { create, globals } = await import('webgpu');
    for (const [name, value] of Object.entries(globals)) {
      if (!(name in globalThis))
        Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
    }
    dawn ??= create([]);
    return dawn;
  } catch (error) {
    throw new WebGPUUnavailableError(
      `Node needs the package "webgpu" for a GPU, and it could not be loaded (${(error as Error).message}). ` +
        'Run `npm install webgpu`; it has binaries for Linux, macOS and Windows on x64 and arm64.',
    );
  }
}
