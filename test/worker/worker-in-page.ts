/** @file Runs in a page: an engine in a worker, what it answers, and how long the page's own thread was busy. */
import {
  type ChatCompletionRequest,
  createEngine,
  type Engine,
  openStore,
  type Store,
  sourceFromDrop,
} from '../../src/index.ts';

/** An error as a test can see it. */
export interface Failure {
  name: string;
  message: string;
  /** Classes that it is an instance of. */
  classes: string[];
  fields: Record<string, unknown>;
}

export interface LoadRequest {
  /** A name or URL; else files of the page's input, what was dropped on it, or its directory in the browser's storage. */
  from: string | { given: 'input' | 'drop' | 'directory' | 'object' };
  contextLength?: number;
  memoryBytes?: number;
  isStored?: boolean;
  /** Abort at the first progress of this phase. */
  abortAt?: string;
}

export interface Answer {
  text: string;
  finishReason?: string | null;
  numChunks: number;
  completionTokens?: number;
  failure?: Failure;
  /** Milliseconds from the abort to the end. */
  abortTook?: number;
}

export interface WorkerInPage {
  load(request: LoadRequest): Promise<{ phases: string[]; where?: string; architecture?: string; failure?: Failure }>;
  /** @param abortAfter chunks after which the signal is aborted */
  ask(body: ChatCompletionRequest, options?: { abortAfter?: number; leaveAfter?: number }): Promise<Answer>;
  models(): Promise<string[]>;
  stored(): Promise<{ name: string; isComplete: boolean }[]>;
  /** Waits for the engine to be lost. */
  lost(): Promise<Failure>;
  dispose(): Promise<void>;
  /** Milliseconds of tasks of the page's thread that took more than 50 since the last call. */
  longTasks(): number[];
}

declare global {
  interface Window {
    inPage: WorkerInPage;
  }
}

let engine: Engine | undefined;
let store: Promise<Store> | undefined;
let dropped: DataTransfer | undefined;
const tasks: number[] = [];
new PerformanceObserver((list) => {
  tasks.push(...list.getEntries().map(({ duration }) => duration));
}).observe({ type: 'longtask' });

const input = document.body.appendChild(document.createElement('input'));
input.type = 'file';
input.webkitdirectory = true;
