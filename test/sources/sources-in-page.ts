/** @file Runs in a page: opens what the page was given, by URL, input, drop or directory handle, and reads all of it. */
import type { HubOptions } from '../../src/sources/hub.ts';
import { openSource } from '../../src/sources/open-source.ts';
import { type Failure, readCheckpoint, type Summary } from './read-checkpoint.ts';

export interface SourcesInPage {
  fromUrl(url: string): Promise<Summary | Failure>;
  fromHub(name: string, hub: HubOptions): Promise<Summary | Failure>;
  /** What was given last, by drop or input. */
  given: Promise<Summary | Failure> | undefined;
  /** Copies files of the dev server into the origin private file system, and reads them from its directory handle. */
  fromDirectory(files: Record<string, string>): Promise<Summary | Failure>;
}

declare global {
  interface Window {
    sources: SourcesInPage;
  }
}

window.sources = {
  given: undefined,
  fromUrl: (url) => readCheckpoint(() => openSource(url)),
  fromHub: (name, hub) => readCheckpoint(() => openSource(name, { hub })),
  async fromDirectory(files) {
    const storage = await navigator.storage.getDirectory();
    const outer = await storage.getDirectoryHandle('downloads', { create: true });
    const inner = await outer.getDirectoryHandle('my model', { create: true });
    for (const [name, url] of Object.entries(files)) {
      const file = await inner.getFileHandle(name, { create: true });
      const writable = await file.createWritable();
      await writable.write(await (await fetch(url)).arrayBuffer());
      await writable.close();
    }
    return readCheckpoint(() => openSource(outer));
  },
};

const input = document.createElement('input');
input.type = 'file';
input.webkitdirectory = true;
input.addEventListener('change', () => {
  window.sources.given = readCheckpoint(() => openSource(input.files!));
});
document.body.append(input);
document.addEventListener('dragover', (event) => event.preventDefault());
document.addEventListener('drop', (event) => {
  event.preventDefault();
  window.sources.given = readCheckpoint(() => openSource(event.dataTransfer!));
});
