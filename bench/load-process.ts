/** @file The Node process that the load benchmark measures: does what it is told, one task after another. */
import { gpu } from '../src/node.ts';
import type { ProcessMessage } from './load-place.ts';
import { type DiscardTask, discard, type LoadTask, load } from './load-tasks.ts';

const say = (message: ProcessMessage): void => {
  process.send!(message);
};

const dawn = await gpu();
process.on('message', async (task: LoadTask | DiscardTask | { kind: 'collect' }) => {
  try {
    if (task.kind === 'collect') globalThis.gc?.();
    else if (task.kind === 'discard') return say({ kind: 'done', result: await discard(task) });
    else {
      const report = await load(task, dawn, () => say({ kind: 'compile' }));
      return say({ kind: 'done', result: report });
    }
    say({ kind: 'done', result: undefined });
  } catch (error) {
    say({ kind: 'failed', message: String((error as Error).stack) });
  }
});
say({ kind: 'ready' });
await new Promise((disconnected) => process.once('disconnect', disconnected));
