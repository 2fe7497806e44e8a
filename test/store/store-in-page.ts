/** @file Runs in a page: loads a checkpoint through the store in the origin private file system, and damages what it keeps. */
import { openOpfsStore } from '../../src/store/open-store.ts';
import type { StoredModel } from '../../src/store/types.ts';
import { loadFiles } from './checkpoint-files.ts';

const FOLDER = 'shaderloom-test';
const CHUNK_BYTES = 48 * 1024;

export interface LoadRequest {
  name: string;
  endpoint: string;
  /** Of each file, in the order they are read. */
  sizes: [name: string, size: number][];
}

export interface LoadEnding {
  /** The sha256 of each file that was read to its end, when all were. */
  hashes?: Record<string, string>;
  /** Name of the error that ended it. */
  error?: string;
  message?: string;
  neededBytes?: number;
}

export interface StoreInPage {
  load(request: LoadRequest): Promise<LoadEnding>;
  stop(): void;
  list(): Promise<StoredModel[]>;
  delete(name: string): Promise<boolean>;
  /** Changes a byte of one file of the store, chosen by two numbers from 0 to 1. */
  damage(file: number, byte: number): Promise<void>;
}

declare global {
  interface Window {
    store: StoreInPage;
  }
}

const opening = openOpfsStore({
  folder: FOLDER,
  chunkBytes: CHUNK_BYTES,
  reading: { retryDelay: 1, pieceBytes: 40_000 },
});
let controller = new AbortController();

async function digest(bytes: Uint8Array): Promise<string> {
  const hash = await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>);
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

window.store = {
  async load({ name, endpoint, sizes }) {
    controller = new AbortController();
    try {
      const source = (await opening).source(name, { hub: { endpoint } });
      const files = new Map(sizes.map(([name, size]) => [name, new Uint8Array(size)]));
      const read = await loadFiles(source, [files], { signal: controller.signal, compares: false });
      const hashes: Record<string, string> = {};
      for (const [name, bytes] of read) hashes[name] = await digest(bytes);
      return { hashes };
    } catch (error) {
      const { name, message, neededBytes } = error as Error & { neededBytes?: number };
      return { error: name, message, neededBytes };
    }
  },
  stop: () => controller.abort(),
  list: async () => (await opening).list(),
  delete: async (name) => (await opening).delete(name),
  async damage(fileChoice, byteChoice) {
    const root = await (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER);
    const handles: FileSystemFileHandle[] = [];
    for await (const folder of root.values()) {
      if (folder.kind !== 'directory') continue;
      for await (const handle of (folder as FileSystemDirectoryHandle).values()) {
        if (handle.kind === 'file') handles.push(handle as FileSystemFileHandle);
      }
    }
    const handle = handles[Math.floor(fileChoice * handles.length)];
    if (!handle) return;
    const bytes = new Uint8Array(await (await handle.getFile()).arrayBuffer());
    if (bytes.length === 0) return;
    bytes[Math.floor(byteChoice * bytes.length)]! ^= 0x11;
    const writable = await handle.createWritable();
    await writable.write(bytes);
    await writable.close();
  },
};
