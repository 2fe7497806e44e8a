/** @file A store in the browser's origin private file system: starts the worker that does the work, and talks to it. */
import { StoreUnavailableError } from '../errors.ts';
import type { UrlReaderOptions } from '../sources/url-reader.ts';
import type { Backend } from './backend.ts';
import { browserLocks } from './locks.ts';
import { createStore } from './store.ts';
import type { Store } from './types.ts';
import { buffersOf, fromPlainError, type OpenMessage, type ReplyMessage } from './worker-messages.ts';

const FOLDER = 'shaderloom';
/** Chrome's estimate is at most this many bytes above what is used, although it gives more. */
const MUCH_ROOM = 10 * 2 ** 30;

/** Settings that tests make smaller. */
export interface OpfsStoreInternals {
  folder?: string | undefined;
  chunkBytes?: number | undefined;
  reading?: UrlReaderOptions | undefined;
  /** Used in place of the page's own, which workers do not have. */
  persist?: (() => Promise<boolean>) | undefined;
}

const settingsOfStores = new WeakMap<Store, OpfsStoreInternals>();

/** The options that open the same store in a worker; undefined for a store that `openStore` did not open. */
export function opfsSettingsOf(store: Store): OpfsStoreInternals | undefined {
  return settingsOfStores.get(store);
}

/**
 * The store of this site, in the browser's origin private file system. All tabs of the site share it; one is enough for a page.
 * The page must be a secure context (https or localhost), and its content security policy must allow `worker-src 'self'`.
 * @throws StoreUnavailableError where there is no such storage (Node, private windows of some browsers), or no worker
 */
export function openStore(): Promise<Store> {
  return openOpfsStore({});
}

export async function openOpfsStore(internals: OpfsStoreInternals): Promise<Store> {
  const { folder = FOLDER, ...settings } = internals;
  const storage = globalThis.navigator?.storage as StorageManager | undefined;
  if (!storage?.getDirectory || !globalThis.navigator.locks || !globalThis.Worker) {
    throw new StoreUnavailableError(
      'There is no origin private file system here. Wanted a browser, and a page from https or localhost; in Node use ' +
        "folderStore(path) of 'shaderloom/node'.",
    );
  }
  const worker = new Worker(new URL('./store-worker.ts', import.meta.url), { type: 'module' });
  const { backend, close } = backendIn(worker, { folder });
  try {
    await backend.estimate(); // the first answer shows whether worker and storage are there
  } catch (error) {
    close();
    throw error;
  }
  const store = createStore({
    backend,
    locks: browserLocks(`shaderloom-store/${folder}`),
    persist: async () => storage.persist?.() ?? false,
    close,
    muchRoom: MUCH_ROOM,
    ...settings,
  });
  settingsOfStores.set(store, internals);
  return store;
}

interface Waiting {
  resolve(result: unknown): void;
  reject(error: unknown): void;
}

/** A backend whose calls go to the worker. */
function backendIn(worker: Worker, open: OpenMessage): { backend: Backend; close(): void } {
  const waiting = new Map<number, Waiting>();
  let numCalls = 0;
  let ended: Error | undefined;

  function end(error: Error): void {
    ended = error;
    worker.terminate();
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  }

  worker.addEventListener('message', ({ data }: MessageEvent<ReplyMessage>) => {
    const call = waiting.get(data.id);
    waiting.delete(data.id);
    if ('error' in data) call?.reject(fromPlainError(data.error));
    else call?.resolve(data.result);
  });
  worker.addEventListener('error', (event) => {
    event.preventDefault();
    end(
      new StoreUnavailableError(
        `The store's worker could not be started${event.message ? ` (${event.message})` : ''}. Is the file store-worker.js beside ` +
          "the library's, and does the page's content security policy allow worker-src 'self'?",
      ),
    );
  });
  worker.postMessage(open);

  const call =
    (method: keyof Backend) =>
    (...args: unknown[]) =>
      new Promise((resolve, reject) => {
        if (ended) return reject(ended);
        const id = numCalls++;
        waiting.set(id, { resolve, reject });
        worker.postMessage({ id, method, args }, buffersOf(args));
      });
  const backend = new Proxy({} as Backend, { get: (_, method) => call(method as keyof Backend) });
  return {
    backend,
    close: () => end(new StoreUnavailableError('The store was closed. Open another one.')),
  };
}
