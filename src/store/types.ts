/** @file The types that apps see of a store: what it keeps, and what can be asked of it. No behaviour. */
import type { HubOptions } from '../sources/hub.ts';
import type { SourceLike } from '../sources/open-source.ts';
import type { Source } from '../sources/source.ts';

export interface StoredModel {
  /** `org/name`, `modelscope:org/name`, or the address of its folder. */
  name: string;
  /** The commit of a hub (ModelScope: a digest of its listing); undefined for a folder on the web. */
  revision: string | undefined;
  /** Bytes that are here. Revisions share equal parts, so the sum over models may be more than `size()`. */
  storedBytes: number;
  /** Bytes of all files that loading asked for. */
  totalBytes: number;
  /** Everything is here and was verified: it loads without a network. */
  isComplete: boolean;
  lastUsed: Date | undefined;
}

export interface ExportedFile {
  /** With `/` between its parts. */
  name: string;
  size: number;
  /** Its bytes, all verified before they are handed on. */
  stream(): ReadableStream<Uint8Array>;
}

export interface StoreEstimate {
  /**
   * The bytes that this origin, or this folder, may use in all; undefined if unknown. Browsers may give a rough figure
   * (Chrome: 10 GiB above what is used) and then allow more, or less.
   */
  quota: number | undefined;
  /** Bytes of it that are used, by anything. */
  usage: number;
}

export interface StoreSourceOptions {
  /** Token and mirror for names on Hugging Face. */
  hub?: HubOptions | undefined;
}

/**
 * Keeps checkpoints, so that they are downloaded only once. Nothing is deleted unless asked for, and an incomplete download goes on
 * where it stopped. `loadModel(from, { store })` is all that most apps need.
 */
export interface Store {
  /**
   * The checkpoint of a name or URL, kept here from the first read on. A file's bytes are given out only after the whole file
   * is here and verified. The header of a shard comes earlier, and is compared with the verified file before the first byte of data. Files and folders that the user gave, and sources, are passed through: they are local already.
   */
  source(from: SourceLike, options?: StoreSourceOptions): Source;
  /** What is kept, the most recently used first. */
  list(): Promise<StoredModel[]>;
  /** Bytes of everything in the store. */
  size(): Promise<number>;
  /**
   * Deletes a model by the name that `list` gives: all its revisions or, as `name@revision`, one. False: there was none.
   * @throws StoreBusyError while anything is downloaded into the store or loaded from it, in any tab
   */
  delete(name: string): Promise<boolean>;
  /**
   * The files of a complete model, by `name` (its most recently used revision) or `name@revision`.
   * @throws SourceError when it is not here or not complete
   */
  export(name: string): Promise<ExportedFile[]>;
  estimate(): Promise<StoreEstimate>;
  /** Asks the browser not to evict this origin's storage. A download does this by itself. In Node always true. */
  persist(): Promise<boolean>;
  /** Ends the store's worker. The store cannot be used afterwards; what it keeps stays. */
  close(): void;
}
