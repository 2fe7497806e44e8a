/**
 * @file The worker of `createEngine(source, { worker: true })`: loads the model and answers the page's requests with it, off the
 * page's thread.
 */
import { loadModel } from '../chat/model.ts';
import type { Backend } from '../openai/backend.ts';
import { localBackend } from '../openai/local.ts';
import type { LoadOptions } from '../runtime/types.ts';
import { openOpfsStore } from '../store/open-store.ts';
import { fromCrossing } from './crossing-source.ts';
import type { FromWorker, Method, ToWorker } from './messages.ts';
import { toPlainError } from './plain-error.ts';

/** TypeScript's DOM library describes a page, not a worker. */
const port = globalThis as unknown as {
  onmessage: (event: MessageEvent<ToWorker>) => void;
  postMessage(message: FromWorker): void;
};

let backend: Backend;
/** Those of the calls that have not ended. */
const controllers = new Map<number, AbortController>();
let heardPersisted: (isPersistent: boolean) => void;

function askToPersist(): Promise<boolean> {
  return new Promise((resolve) => {
    heardPersisted = resolve;
    port.postMessage({ kind: 'persist' });
  });
}

async function load(message: Extract<ToWorker, { kind: 'load' }>): Promise<void> {
  try {
    const store = message.store && (await openOpfsStore({ ...message.store, persist: askToPersist }));
    const options: LoadOptions = {
      ...message.options,
      store,
      onFit: (fit) => port.postMessage({ kind: 'fit', fit }),
      onProgress: (progress) => port.postMessage({ kind: 'progress', progress }),
    };
    const model = await loadModel(fromCrossing(message.source), options);
    backend = localBackend(model, message.modelId);
    void backend.lost.then((error) => port.postMessage({ kind: 'lost', error: toPlainError(error) }));
    port.postMessage({ kind: 'loaded', info: backend.info });
  } catch (error) {
    port.postMessage({ kind: 'failed', error: toPlainError(error) });
  }
}

const methods: Record<Method, (body: never, signal: AbortSignal) => AsyncIterable<unknown>> = {
  chat: (body, signal) => backend.chat(body, signal),
  complete: (body, signal) => backend.complete(body, signal),
  async *embed(body, signal) {
    yield await backend.embed(body, signal);
  },
  async *rerank(body, signal) {
    yield await backend.rerank(body, signal);
  },
  async *models(_, signal) {
    yield await backend.models(signal);
  },
};

async function answer({ id, method, body }: Extract<ToWorker, { kind: 'call' }>): Promise<void> {
  const controller = new AbortController();
  controllers.set(id, controller);
  try {
    for await (const chunk of methods[method](body as never, controller.signal)) {
      port.postMessage({ kind: 'chunk', id, chunk });
    }
    port.postMessage({ kind: 'end', id, error: undefined });
  } catch (error) {
    port.postMessage({ kind: 'end', id, error: toPlainError(error) });
  } finally {
    controllers.delete(id);
  }
}

const hear: { [Kind in ToWorker['kind']]: (message: Extract<ToWorker, { kind: Kind }>) => void } = {
  load: (message) => void load(message),
  call: (message) => void answer(message),
  abort: ({ id }) => controllers.get(id)?.abort(),
  persisted: ({ isPersistent }) => heardPersisted(isPersistent),
};

port.onmessage = ({ data }) => hear[data.kind](data as never);
