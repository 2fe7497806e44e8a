/**
 * @file Where the bytes of a checkpoint come from: the interface every source fulfils, and the small pieces that
 * sources share. It knows files and byte ranges; it must not know tensors, formats or the GPU.
 */
import { SourceError } from '../errors.ts';
import type { LoadProgress } from './progress.ts';

/** Bytes [begin, end) of a file. */
export interface ByteRange {
  readonly begin: number;
  readonly end: number;
}

/** The first bytes of a file. */
export interface FileStart {
  /** At most as many as were asked for; fewer only when the file is shorter. */
  bytes: Uint8Array;
  /** Size of the file in bytes; undefined where the server does not say it reliably. */
  size: number | undefined;
  /** The server's ETag, where it has one that tells versions of the file apart. */
  etag?: string | undefined;
}

export interface ReadOptions {
  /** Aborting it makes the call throw the signal's reason. */
  signal?: AbortSignal | undefined;
}

export interface ReadFileOptions extends ReadOptions {
  /** A larger file is a SourceError. 64 MiB when not given. */
  maxBytes?: number | undefined;
}

/**
 * The files of one checkpoint. Names are relative to its folder, with `/` between parts.
 * Failures are SourceError (cannot be read) or CorruptCheckpointError (is shorter than it should be).
 */
export interface Source {
  /** For messages: the URL or the folder's name. */
  readonly label: string;
  /** A file that holds the whole checkpoint (GGUF), where one was asked for: its name, or a pattern in which `*` stands for anything. */
  readonly file?: string | undefined;
  /** A whole small file (config.json, tokenizer.json), or undefined when there is none. */
  readFile(name: string, options?: ReadFileOptions): Promise<Uint8Array | undefined>;
  /** The first `maxBytes` bytes of a file (fewer if it is shorter), or undefined when there is no such file. */
  readStart(name: string, maxBytes: number, options?: ReadOptions): Promise<FileStart | undefined>;
  /**
   * The bytes of `ranges` (ascending, not overlapping), one after the other, in chunks of any size. A chunk never
   * crosses the end of a range, and is valid only until the next one is asked for. One call per file is the cheapest:
   * neighbouring ranges share a request, and a server without byte ranges is read through once.
   */
  stream(name: string, ranges: readonly ByteRange[], options?: ReadOptions): AsyncIterable<Uint8Array>;
  /** The files themselves, for sources made of them: unlike the source, they can be sent to a worker. */
  files?(): Promise<{ path: string; file: File }[]>;
  /** Names of the files, for sources that can list them. */
  list?(options?: ReadOptions): Promise<string[]>;
  /** What is to be done before any of these files is streamed, for sources that keep them: downloads and verifies them. */
  prepare?(files: readonly FileExtent[], options?: PrepareOptions): Promise<void>;
}

/** A file that will be streamed. */
export interface FileExtent {
  name: string;
  /** At least so many bytes must be in it. */
  bytes: number;
}

export interface PrepareOptions extends ReadOptions {
  onProgress?: ((progress: LoadProgress) => void) | undefined;
}

/** Whether a name stays inside the checkpoint's folder: relative, no `..`, nothing a file system or URL reads otherwise. */
export function isPlainName(name: string): boolean {
  return (
    !/[\\:\p{Cc}]/u.test(name) &&
    name.split('/').every((part) => part !== '' && part !== '.' && part !== '..')
  );
}

/** @throws SourceError when a name would leave the checkpoint's folder. */
export function checkName(name: string, label: string): void {
  if (isPlainName(name)) return;
  throw new SourceError(
    `${label}: refused to read ${JSON.stringify(name)}, wanted the plain name of a file inside the checkpoint's folder.`,
  );
}

/** Options of `readFile` when none are given: far above any tokenizer.json, far below a shard. */
export const DEFAULT_MAX_FILE_BYTES = 64 * 1024 * 1024;

/** @throws SourceError when a file that is read whole is larger than its reader can want. */
export function checkFileSize(bytes: number, maxBytes: number, where: string): void {
  if (bytes <= maxBytes) return;
  throw new SourceError(
    `${where}: larger than the ${maxBytes} bytes that are read of such a file at once. Is it the right file?`,
  );
}

/** A gap this small between two ranges is cheaper to read than a new request. */
const MAX_GAP_BYTES = 1024 * 1024;

/** How one call of `stream` gets at its bytes. */
export interface RangeReader {
  /**
   * Some bytes from the beginning of `range`, at least one and none beyond its end. Calls come in ascending order;
   * the ranges up to `groupEnd` follow closely and are worth asking for together.
   */
  next(range: ByteRange, groupEnd: number): Promise<Uint8Array>;
  /** Gives everything back, read or not; never throws. */
  close(): Promise<void>;
}

/** The loop of every source's `stream`. */
export async function* streamRanges(
  ranges: readonly ByteRange[],
  reader: RangeReader,
  options: ReadOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const groupEnds = findGroupEnds(ranges);
  try {
    for (const [index, { begin, end }] of ranges.entries()) {
      let position = begin;
      while (position < end) {
        options.signal?.throwIfAborted();
        const chunk = await reader.next({ begin: position, end }, groupEnds[index]!);
        position += chunk.length;
        yield chunk;
      }
    }
  } finally {
    await reader.close();
  }
}

/** For each of some ascending ranges: the end of the last one that is close enough to be read with it. */
function findGroupEnds(ranges: readonly ByteRange[]): number[] {
  const ends: number[] = [];
  for (let i = ranges.length - 1; i >= 0; i--) {
    const next = ranges[i + 1];
    const isClose = next !== undefined && next.begin - ranges[i]!.end <= MAX_GAP_BYTES;
    ends[i] = isClose ? ends[i + 1]! : ranges[i]!.end;
  }
  return ends;
}

/** A byte stream that knows where in its file it is, and can only go forward. */
export interface Cursor {
  /** Position in the file of the next unread byte. */
  readonly position: number;
  /**
   * Skips to `begin` and returns some bytes from there, none beyond `end`, valid until the next call; undefined when the
   * stream is over.
   */
  next(begin: number, end: number): Promise<Uint8Array | undefined>;
  /** Gives the stream back; never throws. */
  close(): Promise<void>;
}

/** What is read at once where a stream fills a buffer that it is given. */
const READ_BYTES = 256 * 1024;

/**
 * Reads a stream, where it can into one buffer again and again: a browser then has half the work, and no garbage that
 * it may collect late.
 * @param position where in the file the stream's first byte is
 * @param during runs around each wait for the stream
 */
export function createCursor(
  stream: ReadableStream<Uint8Array>,
  position: number,
  during: <T>(wait: () => Promise<T>) => Promise<T> = (wait) => wait(),
): Cursor {
  const { read, cancel } = createStreamReader(stream);
  let rest = new Uint8Array(0);
  return {
    get position() {
      return position;
    },
    async next(begin, end) {
      for (;;) {
        const skipped = Math.min(rest.length, begin - position);
        position += skipped;
        rest = rest.subarray(skipped);
        if (rest.length > 0) {
          const bytes = rest.subarray(0, end - begin);
          position += bytes.length;
          rest = rest.subarray(bytes.length);
          return bytes;
        }
        const { done, value } = await during(read);
        if (done) return undefined;
        rest = value as Uint8Array<ArrayBuffer>;
      }
    },
    async close() {
      await cancel().catch(() => undefined);
    },
  };
}

/** Not for await: Safari before 27 cannot iterate a ReadableStream. */
function createStreamReader(stream: ReadableStream<Uint8Array>): {
  read(): Promise<ReadableStreamReadResult<Uint8Array>>;
  cancel(): Promise<void>;
} {
  let reader: ReadableStreamBYOBReader;
  try {
    reader = stream.getReader({ mode: 'byob' });
  } catch {
    const plain = stream.getReader();
    return { read: () => plain.read(), cancel: () => plain.cancel() };
  }
  let buffer = new ArrayBuffer(READ_BYTES);
  return {
    cancel: () => reader.cancel(),
    async read() {
      const result = await reader.read(new Uint8Array(buffer));
      if (result.value) buffer = result.value.buffer;
      return result as ReadableStreamReadResult<Uint8Array>;
    },
  };
}

/** The bytes of a few short ranges of a file, one after the other. */
export async function readRanges(
  source: Pick<Source, 'stream'>,
  file: string,
  ranges: readonly ByteRange[],
  options: ReadOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source.stream(file, ranges, options)) chunks.push(chunk.slice());
  return concatenate(chunks);
}

/** One array of all bytes of some chunks. */
export function concatenate(chunks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}
