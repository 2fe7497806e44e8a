/** @file Where contenders are measured, seen from outside: a Node process for each, or one page in Chrome for all. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { startPageTest } from '../../test/page.ts';
import type { ContenderInfo, ContenderName, ContenderOptions, Part } from './contender.ts';
import type { ProcessAnswer, ProcessTask } from './process.ts';

/** CPU time of all threads of all processes that take part. */
export type Measured = Part & { cpuMilliseconds: number };

export interface Place {
  /** The adapter's words, and the environment's. */
  describe(): Promise<{ adapter: string; architecture: string; environment: string }>;
  start(name: ContenderName, options: ContenderOptions): Promise<ContenderInfo>;
  logits(name: ContenderName, ids: readonly number[]): Promise<number[] | undefined>;
  prefill(name: ContenderName, ids: readonly number[]): Promise<Measured>;
  decode(name: ContenderName, count: number): Promise<Measured>;
  close(): Promise<void>;
}

const RUN = fileURLToPath(new URL('../../scripts/run.mjs', import.meta.url));
const PROCESS = fileURLToPath(new URL('process.ts', import.meta.url));

export async function startNodePlace(): Promise<Place> {
  const children = new Map<ContenderName, ChildProcess>();
  async function ask(
    name: ContenderName,
    method: ProcessTask['method'],
    ...args: unknown[]
  ): Promise<Answered> {
    let child = children.get(name);
    if (!child) {
      child = fork(RUN, [PROCESS]);
      children.set(name, child);
      await answerOf(child);
    }
    child.send({ method, args: [name, ...args] } satisfies ProcessTask);
    return answerOf(child);
  }
  const measured = async (...task: Parameters<typeof ask>): Promise<Measured> => {
    const { result, cpuMilliseconds } = await ask(...task);
    return { ...(result as Part), cpuMilliseconds };
  };
  return {
    async describe() {
      const { gpu } = await import('../../src/node.ts');
      const info = (await (await gpu()).requestAdapter())?.info;
      return {
        adapter: info?.description ?? '',
        architecture: info?.architecture ?? '',
        environment: `Node ${process.version}`,
      };
    },
    start: async (name, options) => (await ask(name, 'start', options)).result as ContenderInfo,
    logits: async (name, ids) => (await ask(name, 'logits', ids)).result as number[] | undefined,
    prefill: (name, ids) => measured(name, 'prefill', ids),
    decode: (name, count) => measured(name, 'decode', count),
    async close() {
      for (const child of children.values()) child.kill();
    },
  };
}

type Answered = Extract<ProcessAnswer, { result: unknown }>;

function answerOf(child: ChildProcess): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const end = (): void => {
      child.off('message', onMessage);
      child.off('exit', onExit);
    };
    const onExit = (code: number | null): void => {
      end();
      reject(new Error(`a contender's process ended with ${code}`));
    };
    const onMessage = (answer: ProcessAnswer): void => {
      end();
      if ('error' in answer) reject(new Error(answer.error));
      else resolve(answer);
    };
    child.on('message', onMessage);
    child.on('exit', onExit);
  });
}

export async function startChromePlace(): Promise<Place> {
  const pageTest = await startPageTest();
  const { page } = await pageTest.open('/examples/models/tiny-qwen3/config.json');
  await page.addScriptTag({ type: 'module', url: '/bench/peers/page.ts' });
  await page.waitForFunction(() => 'peersBench' in window);
  const system = await pageTest.browser.newBrowserCDPSession();
  const cpuSeconds = async (): Promise<number> => {
    const { processInfo } = await system.send('SystemInfo.getProcessInfo');
    return processInfo.reduce((sum, { cpuTime }) => sum + cpuTime, 0);
  };
  async function measured(part: () => Promise<Part>): Promise<Measured> {
    const before = await cpuSeconds();
    const result = await part();
    return { ...result, cpuMilliseconds: 1000 * ((await cpuSeconds()) - before) };
  }
  return {
    describe: () =>
      page.evaluate(async () => {
        const info = (await navigator.gpu.requestAdapter())?.info;
        return {
          adapter: info?.description ?? '',
          architecture: info?.architecture ?? '',
          environment: navigator.userAgent,
        };
      }),
    start: (name, options) =>
      page.evaluate((args) => window.peersBench.start(...args), [name, options] as const),
    logits: (name, ids) => page.evaluate((args) => window.peersBench.logits(...args), [name, ids] as const),
    prefill: (name, ids) =>
      measured(() => page.evaluate((args) => window.peersBench.prefill(...args), [name, ids] as const)),
    decode: (name, count) =>
      measured(() => page.evaluate((args) => window.peersBench.decode(...args), [name, count] as const)),
    close: () => pageTest.close(),
  };
}
