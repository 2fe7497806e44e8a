/** @file A store as apps use it, over a backend that keeps its bytes. It must not know disks or workers. */
import { SourceError, StoreBusyError } from '../errors.ts';
import { parseHubName } from '../sources/hub.ts';
import { openSource } from '../sources/open-source.ts';
import type { UrlReaderOptions } from '../sources/url-reader.ts';
import type { Backend, ModelSummary } from './backend.ts';
import type { Locks } from './locks.ts';
import { type ModelRecord, readModelState } from './model-log.ts';
import { hubOrigin, urlOrigin } from './snapshot.ts';
import { storedSource } from './stored-source.ts';
import type { ExportedFile, Store } from './types.ts';

/** A whole file is checked chunk by chunk: large enough for a disk's full speed, small beside a heap. */
const CHUNK_BYTES = 8 * 1024 * 1024;

export interface StoreSettings {
  backend: Backend;
  locks: Locks;
  persist(): Promise<boolean>;
  close(): void;
  /** From this estimate on there is much room; see StoreContext. */
  muchRoom?: number | undefined;
  /** Bytes of a chunk in new files. */
  chunkBytes?: number | undefined;
  /** How URLs are read. */
  reading?: UrlReaderOptions | undefined;
}

export function createStore({
  backend,
  locks,
  persist,
  close,
  muchRoom = Number.POSITIVE_INFINITY,
  chunkBytes = CHUNK_BYTES,
  reading = {},
}: StoreSettings): Store {
  const matches = (name: string) => (model: ModelSummary) =>
    name === model.name || name === `${model.name}@${model.revision}`;

  async function* readChunks(id: string, file: string): AsyncGenerator<Uint8Array, void, undefined> {
    const { description } = (await backend.fileStatus(id))!;
    for (let index = 0; index * description.chunkBytes < description.size; index++) {
      const bytes = await backend.readChunk(id, index);
      if (!bytes) {
        throw new SourceError(`${file}: was damaged in the store. Load the model again, which repairs it.`);
      }
      yield bytes;
    }
  }

  return {
    source(from, { hub } = {}) {
      if (typeof from !== 'string' && !(from instanceof URL)) return openSource(from, { hub });
      const name = parseHubName(String(from));
      const origin = name ? hubOrigin(backend, name, hub, reading) : urlOrigin(backend, from, reading);
      return storedSource(origin, { backend, locks, chunkBytes, muchRoom, persist });
    },

    async list() {
      return (await backend.listModels()).map(({ id: _, lastUsed, ...model }) => ({
        ...model,
        lastUsed: lastUsed === 0 ? undefined : new Date(lastUsed),
      }));
    },

    size: () => backend.storedBytes(),

    async delete(name) {
      let hasModel = false;
      const isAlone = await locks.tryAlone('store', async () => {
        const ids = (await backend.listModels()).filter(matches(name)).map(({ id }) => id);
        hasModel = ids.length > 0;
        if (hasModel) await backend.deleteModels(ids);
      });
      if (isAlone) return hasModel;
      throw new StoreBusyError(
        `${name} cannot be deleted while a model is downloaded into the store or loaded from it, here or in another tab. ` +
          'Wait until it ends, or abort it.',
      );
    },

    async export(name) {
      const model = (await backend.listModels()).find(matches(name));
      if (!model?.isComplete) {
        throw new SourceError(
          `${name}: ${model ? 'only a part of it is' : 'it is not'} in the store. Load it to the end, then export it.`,
        );
      }
      const state = readModelState((await backend.readLog(`models/${model.id}`)) as ModelRecord[]);
      return [...state!.files].map(
        ([file, { id, size }]): ExportedFile => ({
          name: file,
          size,
          stream: () => streamOf(readChunks(id, `${file} of ${name}`)),
        }),
      );
    },

    estimate: () => backend.estimate(),
    persist,
    close,
  };
}

/** Not ReadableStream.from: Chrome and Safari do not have it. */
function streamOf(chunks: AsyncGenerator<Uint8Array, void, undefined>): ReadableStream<Uint8Array> {
  return new ReadableStream(
    {
      async pull(controller) {
        const { done, value } = await chunks.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      async cancel() {
        await chunks.return();
      },
    },
    { highWaterMark: 0 },
  );
}
