/**
 * @file Where the bytes of a checkpoint come from: the interface every source fulfils, and the small pieces that
 * sources share. It knows files and byte ranges; it must not know tensors, formats or the GPU.
 */

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
  /** Names of the files, for sources that can list them. */
  list?(options?: ReadOptions): Promise<string[]>;
}
