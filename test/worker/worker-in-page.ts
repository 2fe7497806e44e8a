/** @file Runs in a page: an engine in a worker, what it answers, and how long the page's own thread was busy. */
import * as shaderloom from '../../src/index.ts';
import {
  type ChatCompletionRequest,
  createEngine,
  type EmbeddingRequest,
  type Engine,
  openStore,
  type Source,
  type SourceLike,
  type Store,
  sourceFromDrop,
} from '../../src/index.ts';

/** An error as a test can see it. */
export interface Failure {
  /** The class of the library whose instance it is. */
  instanceOf: string | undefined;
  name: string;
  message: string;
  status?: number;
  param?: string;
}

export interface LoadRequest {
  /** A name or URL, else what the page was given. */
  from: string | { given: 'input' | 'drop' | 'source' | 'directory' };
  contextLength?: number;
  memoryBytes?: number;
  isStored?: boolean;
  fallbackURL?: string;
  /** Abort at the first progress. */
  isAborted?: boolean;
}

export interface Loaded {
  phases: string[];
  where?: string;
  architecture?: string | undefined;
  failure?: Failure;
}

export interface AskOptions {
  /** Chunks after which the signal is aborted. */
  abortAfter?: number;
  /** Chunks after which nobody listens any more. */
  leaveAfter?: number;
}

export interface Answer {
  text: string;
  numChunks: number;
  finishReason: string | null;
  failure?: Failure;
  /** From the abort, or from leaving, to the end. */
  endMilliseconds: number;
}

export interface WorkerInPage {
  load(request: LoadRequest): Promise<Loaded>;
  ask(body: ChatCompletionRequest, options?: AskOptions): Promise<Answer>;
  /** How many values each vector has. */
  embed(body: EmbeddingRequest): Promise<{ lengths: number[]; failure?: Failure }>;
  /** The same through `engine.fetch`. */
  post(path: string, body: object): Promise<{ status: number; text: string }>;
  models(): Promise<string[]>;
  stored(): Promise<{ name: string; isComplete: boolean }[]>;
  /** What the engine was lost by. */
  lost(): Promise<Failure>;
  dispose(): Promise<void>;
  /** Milliseconds of the tasks of the page's thread that took more than 50, since the last call. */
  longTasks(): number[];
  /** Pieces of work that the page's own thread has given to a GPU, since it was opened. */
  submits(): number;
  /** What loading failed with that began in the drop event; it is allowed a byte of memory. */
  dropFailure(): Promise<Failure>;
  /** Copies files of the dev server to a directory of the browser's storage. */
  fillDirectory(urls: Record<string, string>): Promise<void>;
}

declare global {
  interface Window {
    inPage: WorkerInPage;
  }
}

let engine: Engine | undefined;
const store: Promise<Store> = openStore();
/** Made in the event, as an app has to. */
let dropped: Source | undefined;
let droppedFailure: Promise<Failure> | undefined;
const tasks: number[] = [];
new PerformanceObserver((list) => {
  tasks.push(...list.getEntries().map(({ duration }) => duration));
}).observe({ type: 'longtask' });
let numSubmits = 0;
const { submit } = GPUQueue.prototype;
GPUQueue.prototype.submit = function (buffers) {
  numSubmits++;
  return submit.call(this, buffers);
};

const input = document.body.appendChild(document.createElement('input'));
input.type = 'file';
input.webkitdirectory = true;
document.addEventListener('dragover', (event) => event.preventDefault());
document.addEventListener('drop', (event) => {
  event.preventDefault();
  droppedFailure = createEngine(event.dataTransfer!, { worker: true, memoryBytes: 1 }).then(
    () => failureOf(undefined),
    failureOf,
  );
  dropped = sourceFromDrop(event.dataTransfer!);
});

const directory = async (): Promise<FileSystemDirectoryHandle> =>
  (await navigator.storage.getDirectory()).getDirectoryHandle('given', { create: true });

async function sourceOf(from: LoadRequest['from']): Promise<SourceLike> {
  if (typeof from === 'string') return from;
  if (from.given === 'input') return input.files!;
  if (from.given === 'directory') return directory();
  if (from.given === 'drop') return dropped!;
  return {
    label: 'mine',
    readFile: async () => undefined,
    readStart: async () => undefined,
    async *stream() {},
  };
}

function failureOf(error: unknown): Failure {
  const classes: Record<string, unknown> = { ...shaderloom };
  const own = (name: string): boolean => {
    const one = classes[name];
    return (
      typeof one === 'function' &&
      name.endsWith('Error') &&
      name !== 'ShaderloomError' &&
      error instanceof one
    );
  };
  const { name, message, status, param } = error as Failure;
  return { instanceOf: Object.keys(classes).find(own), name, message, status, param };
}

window.inPage = {
  async load({ from, isStored, isAborted, fallbackURL, ...options }) {
    const phases: string[] = [];
    const controller = new AbortController();
    try {
      engine = await createEngine(await sourceOf(from), {
        ...options,
        worker: true,
        ...(fallbackURL !== undefined && { fallback: { baseURL: fallbackURL, model: 'big' } }),
        ...(isStored && { store: await store }),
        signal: controller.signal,
        onProgress({ phase }) {
          if (phases.at(-1) !== phase) phases.push(phase);
          if (isAborted) controller.abort(new Error('enough'));
        },
      });
      return { phases, where: engine.where, architecture: engine.info?.architecture };
    } catch (error) {
      return { phases, failure: failureOf(error) };
    }
  },

  async embed(body) {
    try {
      const { data } = await engine!.embeddings.create(body);
      return { lengths: data.map(({ embedding }) => embedding.length) };
    } catch (error) {
      return { lengths: [], failure: failureOf(error) };
    }
  },

  async ask(body, { abortAfter, leaveAfter } = {}) {
    const controller = new AbortController();
    let end = performance.now();
    const answer: Answer = { text: '', numChunks: 0, finishReason: null, endMilliseconds: 0 };
    try {
      const stream = await engine!.chat.completions.create({ ...body, stream: true }, controller);
      for await (const { choices } of stream) {
        answer.numChunks++;
        answer.text += choices[0]?.delta.reasoning ?? choices[0]?.delta.content ?? '';
        answer.finishReason = choices[0]?.finish_reason ?? answer.finishReason;
        end = performance.now();
        if (answer.numChunks === abortAfter) controller.abort(new Error('enough'));
        if (answer.numChunks === leaveAfter) break;
      }
    } catch (error) {
      answer.failure = failureOf(error);
    }
    return { ...answer, endMilliseconds: performance.now() - end };
  },

  async post(path, body) {
    const response = await engine!.fetch(path, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
    return { status: response.status, text: await response.text() };
  },

  models: async () => (await engine!.models.list()).data.map(({ id }) => id),
  stored: async () => (await (await store).list()).map(({ name, isComplete }) => ({ name, isComplete })),
  lost: async () => failureOf(await engine!.lost),
  dispose: () => engine!.dispose(),
  dropFailure: () => droppedFailure!,
  longTasks: () => tasks.splice(0),
  submits: () => numSubmits,

  async fillDirectory(urls) {
    for (const [name, url] of Object.entries(urls)) {
      const file = await (await directory()).getFileHandle(name, { create: true });
      const writable = await file.createWritable();
      await writable.write(await (await fetch(url)).arrayBuffer());
      await writable.close();
    }
  },
};
