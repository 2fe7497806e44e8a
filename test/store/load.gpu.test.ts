/** A model that is loaded through a store in a folder, in Node. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type LoadProgress, loadModel } from '../../src/index.ts';
import { folderStore } from '../../src/node.ts';
import { serveHub } from '../sources/hub-server.ts';

const MODEL_FOLDER = join(import.meta.dirname, '../../examples/models/tiny-qwen3');

test('a model downloads into a store, answers from it, and loads again without a network', async () => {
  const names = await readdir(MODEL_FOLDER);
  const read = async (name: string) => [name, await readFile(join(MODEL_FOLDER, name))] as const;
  const files = new Map(await Promise.all(names.map(read)));
  const folder = await mkdtemp(join(tmpdir(), 'shaderloom-store-'));
  const server = await serveHub({ 'org/tiny': { files, revisions: ['main'] } });
  const hub = { endpoint: server.hub.url };
  const load = async () => {
    const reports: LoadProgress[] = [];
    const model = await loadModel('org/tiny', {
      contextLength: 128,
      store: folderStore(folder),
      hub,
      onProgress: (progress) => reports.push(progress),
    });
    const { result } = model.chat([{ role: 'user', content: 'What is the capital of Norway?' }], {
      temperature: 0,
      maxTokens: 60,
    });
    const { message } = await result;
    model.dispose();
    return { answer: message.content, reports, phases: [...new Set(reports.map(({ phase }) => phase))] };
  };
  try {
    const first = await load();
    expect(first.answer).toContain('Oslo');
    expect(first.phases).toEqual(['config', 'fit', 'download', 'weights', 'compile', 'ready']);
    const last = first.reports.findLast(({ phase }) => phase === 'download')!;
    expect(last.loadedBytes).toBe(last.totalBytes);
    await server.close();
    const again = await load();
    expect(again.answer).toBe(first.answer);
    expect(again.phases).toEqual(['config', 'fit', 'weights', 'compile', 'ready']);
  } finally {
    await server.close().catch(() => undefined);
    await rm(folder, { recursive: true, force: true });
  }
});
