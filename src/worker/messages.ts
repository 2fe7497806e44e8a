/**
 * @file What a page and its engine's worker say to each other. One request is one call: the page sends its body, the worker its
 * chunks in order, and then one end. Nothing is held back for a page that reads slowly, since an answer is never longer than the
 * context. Both sides import this file.
 */

import type { Backend } from '../openai/backend.ts';
import type { Fit, LoadOptions, LoadProgress } from '../runtime/types.ts';
import type { OpfsStoreInternals } from '../store/open-store.ts';
import type { CrossingSource } from './crossing-source.ts';
import type { PlainError } from './plain-error.ts';

/** Options that are data. The others stay on the page, which gets messages about them. */
export type CrossingOptions = Omit<LoadOptions, 'gpu' | 'store' | 'signal' | 'onFit' | 'onProgress'>;

export type Method = 'chat' | 'complete' | 'embed' | 'rerank' | 'models';

export type ToWorker =
  /** The first message. */
  | {
      kind: 'load';
      source: CrossingSource;
      options: CrossingOptions;
      modelId: string;
      /** With this the worker opens the store that the page has; undefined: none. */
      store: OpfsStoreInternals | undefined;
    }
  | { kind: 'call'; id: number; method: Method; body: unknown }
  | { kind: 'abort'; id: number }
  | { kind: 'persisted'; isPersistent: boolean };

export type FromWorker =
  | { kind: 'progress'; progress: LoadProgress }
  | { kind: 'fit'; fit: Fit }
  /** Only a page may ask the browser to keep its storage. */
  | { kind: 'persist' }
  | { kind: 'loaded'; info: Backend['info'] }
  | { kind: 'failed'; error: PlainError }
  | { kind: 'chunk'; id: number; chunk: unknown }
  /** The call has ended or failed. */
  | { kind: 'end'; id: number; error: PlainError | undefined }
  | { kind: 'lost'; error: PlainError };
