/** @file The Node process of one contender: does what its parent tells it, one task after another. */
import { gpu } from '../../src/node.ts';
import type { ContenderHost } from './contender.ts';
import { hostContenders } from './host.ts';
import { importPackage } from './import-package.mjs';
import { copySharedWrites, type Ort, startOnnxruntime } from './onnxruntime.ts';
import { startShaderloom } from './shaderloom.ts';

export interface ProcessTask {
  method: keyof ContenderHost;
  args: unknown[];
}
export type ProcessAnswer = { result: unknown; cpuMilliseconds: number } | { error: string };

const ORT = new URL('node_modules/onnxruntime-web/dist/ort.webgpu.bundle.min.mjs', import.meta.url);

const dawn = await gpu();
const host = hostContenders({
  shaderloom: (options) => startShaderloom(options, dawn),
  async 'onnxruntime-web'(options) {
    copySharedWrites();
    Object.defineProperty(globalThis, 'navigator', { value: { gpu: dawn }, configurable: true });
    return startOnnxruntime((await importPackage(ORT.href)) as Ort, dawn, options);
  },
  wllama: () => Promise.reject(new Error('wllama runs in browsers only')),
});

process.on('message', async ({ method, args }: ProcessTask) => {
  const answer = (message: ProcessAnswer): void => void process.send!(message);
  const before = process.cpuUsage();
  try {
    const result = await (host[method] as (...args: unknown[]) => Promise<unknown>)(...args);
    // Of all threads: the driver's, too.
    const { user, system } = process.cpuUsage(before);
    answer({ result, cpuMilliseconds: (user + system) / 1000 });
  } catch (error) {
    answer({ error: String((error as Error).stack) });
  }
});
process.send!({ result: 'ready', cpuMilliseconds: 0 } satisfies ProcessAnswer);
await new Promise((disconnected) => process.once('disconnect', disconnected));
