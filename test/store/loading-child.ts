/** @file A process of its own that loads a checkpoint through a store in a folder, and may be killed at any moment. */
import { openFolderStore } from '../../src/store/folder-store.ts';
import { loadFiles } from './checkpoint-files.ts';

const [folder, name, endpoint, chunkBytes, ...sizes] = process.argv.slice(2);
const files = new Map(
  sizes.map((text) => {
    const [name, size] = text.split('=');
    return [name!, new Uint8Array(Number(size))];
  }),
);
const reading = { retryDelay: 1, pieceBytes: 40_000 };
const store = openFolderStore(folder!, {}, { chunkBytes: Number(chunkBytes), reading });
// What comes is compared by the process that outlives this one.
const source = store.source(name!, { hub: { endpoint } });
await loadFiles(source, [files], { compares: false }).catch(() => undefined);
