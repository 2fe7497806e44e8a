/** @file Where the load benchmark runs its tasks: a Node process of its own, or a page in Chromium; each with a view from outside. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { LoadReport } from '../src/index.ts';
import { startPageTest } from '../test/page.ts';
import type { Discarded, DiscardTask, LoadTask } from './load-tasks.ts';

export interface Place {
  readonly name: 'node' | 'chrome';
  discard(task: DiscardTask): Promise<Discarded>;
  load(task: LoadTask, onCompile?: () => void): Promise<LoadReport>;
  /** Frees what it can before a measurement. */
  collectGarbage(): Promise<void>;
  /** Processes whose memory belongs to a load. */
  processes(): Promise<{ name: string; pid: number }[]>;
  /** JavaScript heap with array buffers as the debugger sees it, where there is one. */
  heapBytes?(): Promise<number>;
  close(): Promise<void>;
}

const RUN = fileURLToPath(new URL('../scripts/run.mjs', import.meta.url));
const NODE_PROCESS = fileURLToPath(new URL('load-process.ts', import.meta.url));

/** What the process of `load-process.ts` says. */
export type ProcessMessage =
  | { kind: 'ready' }
  | { kind: 'compile' }
  | { kind: 'done'; result: LoadReport | Discarded | undefined }
  | { kind: 'failed'; message: string };

export async function startNodePlace(): Promise<Place> {
  const child = fork(RUN, [NODE_PROCESS], { execArgv: ['--expose-gc'] });
  await answer(child);
  const ask = <T>(task: object, onCompile?: () => void): Promise<T> => {
    child.send(task);
    return answer(child, onCompile) as Promise<T>;
  };
  return {
    name: 'node',
    discard: (task) => ask(task),
    load: (task, onCompile) => ask(task, onCompile),
    collectGarbage: () => ask({ kind: 'collect' }),
    processes: async () => [{ name: 'node', pid: child.pid! }],
    async close() {
      child.kill();
    },
  };
}

/** Waits until the process is ready or done. */
function answer(child: ChildProcess, onCompile?: () => void): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const end = (): void => {
      child.off('message', onMessage);
      child.off('exit', onExit);
    };
    const onExit = (code: number | null): void => {
      end();
      reject(new Error(`the loading process ended with ${code}`));
    };
    const onMessage = (message: ProcessMessage): void => {
      if (message.kind === 'compile') {
        onCompile?.();
        return;
      }
      end();
      if (message.kind === 'failed') reject(new Error(message.message));
      else resolve(message.kind === 'done' ? message.result : undefined);
    };
    child.on('message', onMessage);
    child.on('exit', onExit);
  });
}

export async function startChromePlace(): Promise<Place> {
  const pageTest = await startPageTest();
  const { page } = await pageTest.open('/examples/models/tiny-qwen3/config.json');
  let onCompileNow: (() => void) | undefined;
  await page.exposeFunction('tellCompile', () => onCompileNow?.());
  await page.addScriptTag({ type: 'module', url: '/bench/load-page.ts' });
  await page.waitForFunction(() => 'loadBench' in window);
  const debug = await page.context().newCDPSession(page);
  const system = await pageTest.browser.newBrowserCDPSession();
  return {
    name: 'chrome',
    discard: (task) => page.evaluate((task) => window.loadBench.discard(task), task),
    load(task, onCompile) {
      onCompileNow = onCompile;
      return page.evaluate((task) => window.loadBench.load(task), task);
    },
    async collectGarbage() {
      await debug.send('HeapProfiler.collectGarbage');
    },
    async processes() {
      const { processInfo } = await system.send('SystemInfo.getProcessInfo');
      return processInfo
        .filter(({ type }) => type !== 'browser')
        .map(({ type, id }) => ({ name: `${type} ${id}`, pid: id }));
    },
    async heapBytes() {
      const { usedSize, backingStorageSize } = await debug.send('Runtime.getHeapUsage');
      return usedSize + backingStorageSize;
    },
    async close() {
      await pageTest.close();
    },
  };
}
