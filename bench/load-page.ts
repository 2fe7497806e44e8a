/** @file Runs in the page that the load benchmark measures. */
import type { LoadReport } from '../src/index.ts';
import { type Discarded, type DiscardTask, discard, type LoadTask, load } from './load-tasks.ts';

declare global {
  interface Window {
    loadBench: {
      discard(task: DiscardTask): Promise<Discarded>;
      load(task: LoadTask): Promise<LoadReport>;
    };
    tellCompile(): Promise<void>;
  }
}

window.loadBench = { discard, load: (task) => load(task, undefined, () => void window.tellCompile()) };
