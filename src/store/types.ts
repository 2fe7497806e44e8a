/** @file The types that apps see of a store: what it keeps, and what can be asked of it. No behaviour. */
import type { HubOptions } from '../weights/hub.ts';
import type { SourceLike } from '../weights/open-source.ts';
import type { Source } from '../weights/source.ts';

export interface StoredModel {
  /** `org/name`, `modelscope:org/name`, or the address of its folder. */
  name: string;
  /** The commit of a hub (ModelScope: a digest of its listing); undefined for a folder on the web. */
  revision: string | undefined;
  /** Bytes that are here. Revisions share what they have in common, so sums of this may be more than `size()`. */
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
  /** Its bytes, each verified before it is handed on. */
  stream(): ReadableStream<Uint8Array>;
}

export interface StoreEstimate {
  /**
   * Bytes that this origin, or this folder, may use in all; undefined where nobody says. Browsers may tell a round figure
   * (Chrome: 10 GiB above what is used) and give more, or less.
   */
  quota: number | undefined;
  /** Bytes of it that are used, by whatever. */
  usage: number;
}

export interface StoreSourceOptions {
  /** Token and mirror for names on Hugging Face. */
  hub?: HubOptions | undefined;
}

/**
 * Keeps checkpoints, so that they are downloaded once. Nothing is ever thrown away unasked, and what is incomplete goes on
 * where it stopped. `loadModel(from, { store })` is all that most apps need.
 */
export interface Store {
  /**
   * The checkpoint behind a name or URL, kept here from the first read on. A file's bytes come out only after the whole file
   * is here and verified; the header of a shard comes before, and is compared with the verified file before its first byte streams. Files and folders that the user gave, and sources, are passed through: they are local already.
   */
  source(from: SourceLike, options?: StoreSourceOptions): Source;
  /** What is kept, the most recently used first. */
  list(): Promise<StoredModel[]>;
  /** Bytes of everything in the store. */
  size(): Promise<number>;
  /**
   * Deletes a model by the name that `list` gives, all its revisions or, as `name@revision`, one. False: there is none.
   * @throws StoreBusyError while anything is downloaded into the store or loaded from it, in any tab
   */
  delete(name: string): Promise<boolean>;
  /**
   * The files of a complete model, by `name` (its most recently used revision) or `name@revision`.
   * @throws SourceError when it is not here or not complete
   */
  export(name: string): Promise<ExportedFile[]>;
  estimate(): Promise<StoreEstimate>;
  /** Asks the browser not to evict this origin's storage. Asked by itself before a download. In Node always true. */
  persist(): Promise<boolean>;
  /** Ends the store's worker. The store cannot be used afterwards; what it keeps stays. */
  close(): void;
}
