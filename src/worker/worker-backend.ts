/**
 * @file An engine's backend whose model is in a worker: starts the worker, sends it requests, and hands on its answers. The
 * page's side; it must not import what computes.
 */

import { ApiError, InvalidInputError, ModelStateError, WorkerError } from '../errors.ts';
import type { Backend } from '../openai/backend.ts';
import type { LoadOptions } from '../runtime/types.ts';
import type { SourceLike } from '../sources/open-source.ts';
import { opfsSettingsOf } from '../store/open-store.ts';
import type { Store } from '../store/types.ts';
import { createCalls } from './calls.ts';
import { toCrossing } from './crossing-source.ts';
import type { FromWorker, ToWorker } from './messages.ts';
import { fromPlainError } from './plain-error.ts';

/**
 * Loads a checkpoint in a worker of its own, with the same options as on the page; the bytes of the weights never come to the page. When
 * the worker ends (by `dispose`, the signal or a failure), it releases everything and ends its requests.
 * @param modelId what requests call the model
 * @throws InvalidInputError for what cannot cross to a worker, WorkerError where none can be started, and what loading throws
 */
export async function workerBackend(
  from: SourceLike,
  modelId: string,
  options: LoadOptions,
): Promise<Backend> {
  const { gpu, store, signal, onFit, onProgress, ...plain } = options;
  signal?.throwIfAborted();
  if (!globalThis.Worker || !globalThis.document) {
    throw new InvalidInputError(
      '`worker` is true, but only a page can start module workers. Leave it out here.',
    );
  }
  if (gpu) {
    throw new InvalidInputError(
      '`gpu` cannot cross to a worker, which has its own. Leave out `gpu` or `worker`.',
    );
  }
  const settings = store && storeSettings(store);
  const source = await toCrossing(from);
  signal?.throwIfAborted();

  const worker = new Worker(new URL('./engine-worker.ts', import.meta.url), { type: 'module' });
  const send = (message: ToWorker): void => worker.postMessage(message);
  const calls = createCalls(send);
  let succeed: (info: Backend['info']) => void;
  let fail: (error: unknown) => void;
  const loading = new Promise<Backend['info']>((resolve, reject) => {
    succeed = resolve;
    fail = reject;
  });
  let lose: (error: Error) => void;
  const lost = new Promise<Error>((resolve) => {
    lose = resolve;
  });

  /** @param reason what loading fails with, if it is not over */
  function end(reason: unknown): void {
    worker.terminate();
    fail(reason);
    calls.close(new ApiError(503, (reason as Error | undefined)?.message ?? 'The engine has ended.'));
  }

  function crash(error: Error): void {
    end(error);
    lose(error);
  }

  async function persist(): Promise<void> {
    send({ kind: 'persisted', isPersistent: await store!.persist().catch(() => false) });
  }

  const hear: { [Kind in FromWorker['kind']]: (message: Extract<FromWorker, { kind: Kind }>) => void } = {
    progress: ({ progress }) => onProgress?.(progress),
    fit: ({ fit }) => onFit?.(fit),
    persist: () => void persist(),
    loaded: ({ info }) => succeed(info),
    failed: ({ error }) => end(fromPlainError(error)),
    chunk: ({ id, chunk }) => calls.take(id, chunk),
    end: ({ id, error }) => calls.end(id, error && fromPlainError(error)),
    lost: ({ error }) => lose(fromPlainError(error)),
  };

  worker.addEventListener('message', ({ data }: MessageEvent<FromWorker>) => hear[data.kind](data as never));
  worker.addEventListener('messageerror', () =>
    crash(new WorkerError('What the worker sent cannot be read.')),
  );
  worker.addEventListener('error', (event) => {
    event.preventDefault();
    crash(workerError(event.message));
  });
  const stop = (): void => end(signal!.reason);
  signal?.addEventListener('abort', stop);
  send({ kind: 'load', source, options: plain, modelId, store: settings });
  const info = await loading.finally(() => signal?.removeEventListener('abort', stop));
  return {
    where: 'worker',
    info,
    chat: (body, signal) => calls.open('chat', body, signal),
    complete: (body, signal) => calls.open('complete', body, signal),
    embed: (body, signal) => calls.one('embed', body, signal),
    rerank: (body, signal) => calls.one('rerank', body, signal),
    models: (signal) => calls.one('models', undefined, signal),
    lost,
    async dispose() {
      end(new ModelStateError('The engine was disposed of. Create another one.'));
    },
  };
}

function storeSettings(store: Store): ReturnType<typeof opfsSettingsOf> {
  const settings = opfsSettingsOf(store);
  if (settings) return settings;
  throw new InvalidInputError(
    '`store` is not one of openStore(), and no other can be opened again in a worker. Use openStore(), or leave out `worker`.',
  );
}

function workerError(message: string | undefined): WorkerError {
  return new WorkerError(
    message
      ? `The engine's worker failed: ${message}. Create the engine again.`
      : "The engine's worker could not be started. Is the file engine-worker.js beside the library's, and does the page's content " +
          "security policy allow worker-src 'self'?",
  );
}
