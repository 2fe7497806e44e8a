/**
 * @file A checkpoint in files that the user of a page gave: an input's FileList, a directory handle, a dropped folder.
 * It must not know what is in the files.
 */
import { CorruptCheckpointError, SourceError } from '../errors.ts';
import {
  type Cursor,
  checkFileSize,
  checkName,
  createCursor,
  DEFAULT_MAX_FILE_BYTES,
  type RangeReader,
  type ReadOptions,
  type Source,
  streamRanges,
} from './source.ts';

/** A file somewhere below what the user gave; `path` has `/` between its parts. */
interface LocalFile {
  path: string;
  open(): Promise<File>;
}

/** More than any checkpoint has; stops the walk through a whole disk that was dropped by mistake. */
const MAX_FILES = 10_000;
const MAX_DEPTH = 8;

/** Files of `<input type="file">`, with `multiple` or `webkitdirectory`. */
export function filesSource(files: Iterable<File>): Source {
  const local = [...files].map((file) => ({
    path: file.webkitRelativePath || file.name,
    open: () => Promise.resolve(file),
  }));
  return localSource('the chosen files', () => Promise.resolve(local));
}

/** A folder of `showDirectoryPicker()` or of the origin private file system. */
export function directorySource(directory: FileSystemDirectoryHandle): Source {
  return localSource(directory.name || 'the chosen folder', async () => {
    const files: LocalFile[] = [];
    await walkHandles(directory, '', 0, files);
    return files;
  });
}

/**
 * What was dropped on a page: a folder, or the files of one. Call it in the `drop` event itself; the browser empties
 * the DataTransfer afterwards.
 */
export function sourceFromDrop(dropped: DataTransfer): Source {
  const entries = [...dropped.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  if (entries.length === 0) return filesSource(dropped.files);
  return localSource(`the dropped ${entries[0]!.name}`, async () => {
    const files: LocalFile[] = [];
    for (const entry of entries) await walkEntry(entry, '', 0, files);
    return files;
  });
}

function localSource(label: string, collect: () => Promise<LocalFile[]>): Source {
  let collected: Promise<Map<string, LocalFile>> | undefined;
  const files = () => {
    collected ??= collect().then(
      (found) => pickFolder(found, label),
      (error) => {
        throw error instanceof SourceError ? error : unreadable(label, error);
      },
    );
    return collected;
  };

  async function find(name: string, { signal }: ReadOptions): Promise<File | undefined> {
    checkName(name, label);
    signal?.throwIfAborted();
    const found = (await files()).get(name);
    signal?.throwIfAborted();
    try {
      return await found?.open();
    } catch (error) {
      throw unreadable(`${label}/${name}`, error);
    }
  }

  async function readSlice(name: string, file: File, maxBytes: number): Promise<Uint8Array> {
    try {
      return new Uint8Array(await file.slice(0, maxBytes).arrayBuffer());
    } catch (error) {
      throw unreadable(`${label}/${name}`, error);
    }
  }

  return {
    label,

    async files() {
      const found = [...(await files())];
      return Promise.all(found.map(async ([path, { open }]) => ({ path, file: await open() })));
    },

    async readFile(name, options = {}) {
      const file = await find(name, options);
      if (!file) return undefined;
      checkFileSize(file.size, options.maxBytes ?? DEFAULT_MAX_FILE_BYTES, `${label}/${name}`);
      return readSlice(name, file, file.size);
    },

    async readStart(name, maxBytes, options = {}) {
      const file = await find(name, options);
      return file && { bytes: await readSlice(name, file, maxBytes), size: file.size };
    },

    stream(name, ranges, options = {}) {
      const open = async () => {
        const file = await find(name, options);
        if (!file)
          throw new SourceError(`${label}: there is no file ${name}. Choose the whole folder again.`);
        return file;
      };
      return streamRanges(ranges, createFileReader(`${label}/${name}`, open), options);
    },

    async list() {
      return [...(await files()).keys()];
    },
  };
}

function createFileReader(where: string, open: () => Promise<File>): RangeReader {
  let file: File | undefined;
  let cursor: Cursor | undefined;
  let cursorEnd = 0;

  async function close(): Promise<void> {
    await cursor?.close();
    cursor = undefined;
  }

  return {
    async next(range, groupEnd) {
      file ??= await open();
      if (file.size < groupEnd) {
        throw new CorruptCheckpointError(
          `${where}: the file has ${file.size} bytes, wanted bytes up to ${groupEnd}: it is truncated. Download it again.`,
        );
      }
      if (cursorEnd !== groupEnd) {
        await close();
        cursor = createCursor(file.slice(range.begin, groupEnd).stream(), range.begin);
        cursorEnd = groupEnd;
      }
      let chunk: Uint8Array | undefined;
      try {
        chunk = await cursor?.next(range.begin, range.end);
      } catch (error) {
        throw unreadable(where, error);
      }
      if (chunk) return chunk;
      throw new SourceError(
        `${where}: ended early at byte ${cursor?.position}: it changed while it was read. Load it again.`,
      );
    },
    close,
  };
}

/** The files of the folder that has config.json (the uppermost, if several have one), by their names in it. */
function pickFolder(files: LocalFile[], label: string): Map<string, LocalFile> {
  const folders = files
    .filter(({ path }) => path === 'config.json' || path.endsWith('/config.json'))
    .map(({ path }) => path.slice(0, -'config.json'.length))
    .sort((a, b) => depth(a) - depth(b));
  const [folder = '', other] = folders;
  if (other !== undefined && depth(other) === depth(folder)) {
    throw new SourceError(
      `${label}: several checkpoints, in ${folders.slice(0, 5).join(', ')}: choose the folder of one of them.`,
    );
  }
  return new Map(
    files.filter(({ path }) => path.startsWith(folder)).map((file) => [file.path.slice(folder.length), file]),
  );
}

function depth(path: string): number {
  return path.split('/').length;
}

async function walkHandles(
  directory: FileSystemDirectoryHandle,
  prefix: string,
  level: number,
  files: LocalFile[],
): Promise<void> {
  for await (const entry of directory.values()) {
    const path = prefix + entry.name;
    if (entry instanceof FileSystemFileHandle) addFile(files, { path, open: () => entry.getFile() });
    else if (entry instanceof FileSystemDirectoryHandle && isWorthEntering(entry.name, level)) {
      await walkHandles(entry, `${path}/`, level + 1, files);
    }
  }
}

async function walkEntry(
  entry: FileSystemEntry,
  prefix: string,
  level: number,
  files: LocalFile[],
): Promise<void> {
  const path = prefix + entry.name;
  if (entry.isFile) {
    const open = () =>
      new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    addFile(files, { path, open });
  } else if (isWorthEntering(entry.name, level)) {
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    for (;;) {
      // Chrome hands out at most 100 entries at a time; an empty batch is the end.
      const batch = await new Promise<FileSystemEntry[]>((resolve, reject) =>
        reader.readEntries(resolve, reject),
      );
      if (batch.length === 0) break;
      for (const child of batch) await walkEntry(child, `${path}/`, level + 1, files);
    }
  }
}

/** Hidden folders hold download caches and version control, with copies of config.json. */
function isWorthEntering(name: string, level: number): boolean {
  return level < MAX_DEPTH && !name.startsWith('.');
}

function addFile(files: LocalFile[], file: LocalFile): void {
  if (files.length >= MAX_FILES) {
    throw new SourceError(`More than ${MAX_FILES} files were given: choose the folder of one checkpoint.`);
  }
  files.push(file);
}

function unreadable(where: string, error: unknown): SourceError {
  return new SourceError(
    `${where}: cannot be read (${(error as Error).message}). Was it moved or changed, or is reading it not allowed? Choose it again.`,
  );
}
