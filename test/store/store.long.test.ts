import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CorruptCheckpointError, SourceError, StoreBusyError, StoreFullError } from '../../src/errors.ts';
import type { Source } from '../../src/sources/source.ts';
import { type FolderStoreOptions, openFolderStore } from '../../src/store/folder-store.ts';
import type { Store } from '../../src/store/types.ts';
import { seededRandom } from '../seeded-random.ts';
import { type Behaviour, type FileServer, type Request, serve } from '../sources/file-server.ts';
import { commitOf, type HubBehaviour, type HubServer, serveHub } from '../sources/hub-server.ts';
import { checkpointFiles, type Files, type LoadHooks, loadFiles } from './checkpoint-files.ts';

const CHUNK_BYTES = 16 * 1024;
const NAME = 'org/model';

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const random = seededRandom(seed);
const files = checkpointFiles(random);
const SHARD = 'model-00002-of-00002.safetensors';

let folder: string;
const servers: { close(): Promise<void> }[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shaderloom-store-'));
});
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
  await rm(folder, { recursive: true, force: true });
});

const openStore = (options: FolderStoreOptions = {}): Store =>
  openFolderStore(folder, options, {
    chunkBytes: CHUNK_BYTES,
    reading: { retryDelay: 1, pieceBytes: 40_000 },
  });

async function startHub(behaviour: HubBehaviour = {}, of = files): Promise<HubServer> {
  const server = await serveHub({ [NAME]: { files: of, revisions: ['main', 'master', 'v1'] } }, behaviour);
  servers.push(server);
  return server;
}

async function startFolder(behaviour: Behaviour = {}, of = files): Promise<FileServer> {
  const server = await serve(of, behaviour);
  servers.push(server);
  return server;
}

async function fillStore(source: Source, wanted: Files, hooks: LoadHooks = {}): Promise<void> {
  await loadFiles(source, [wanted], hooks);
}

const fromHub = ({ hub }: HubServer, store = openStore(), name = NAME): Source =>
  store.source(name, { hub: { endpoint: hub.url } });
const totalBytes = [...files.values()].reduce((sum, { length }) => sum + length, 0);
const requestsOf = ({ hub, cdn }: HubServer): Request[] => [...hub.requests, ...cdn.requests];

/** Flips a byte of every chunk on the disk. */
async function damage(): Promise<void> {
  for (const name of await readdir(join(folder, 'chunks'))) {
    const path = join(folder, 'chunks', name);
    const bytes = await readFile(path);
    bytes[bytes.length >> 1]! ^= 1;
    await writeFile(path, bytes);
  }
}

describe(`a store (seed ${seed})`, () => {
  test("hands out a hub's checkpoint as it is, and keeps it", async () => {
    const begin = Date.now();
    const hub = await startHub();
    const store = openStore();
    await fillStore(fromHub(hub, store), files);
    const [model] = await store.list();
    expect(model).toMatchObject({
      name: NAME,
      revision: commitOf(files),
      storedBytes: totalBytes,
      totalBytes,
      isComplete: true,
    });
    expect(model!.lastUsed!.getTime()).toBeGreaterThanOrEqual(begin);
    expect(await store.size()).toBeGreaterThan(totalBytes);
    expect(await readdir(folder)).toEqual(expect.arrayContaining(['chunks', 'files', 'models', 'refs']));
  });

  test('loads it again with one request, which asks what the branch is now', async () => {
    const hub = await startHub();
    await fillStore(fromHub(hub), files);
    const before = requestsOf(hub).length;
    await fillStore(fromHub(hub), files);
    expect(requestsOf(hub).slice(0, 1)).toHaveLength(1);
    expect(requestsOf(hub).length - before).toBe(1);
    expect(hub.hub.requests.at(-1)!.url).toBe(`/api/models/${NAME}/revision/main`);
  });

  test('never asks for a commit again', async () => {
    const hub = await startHub();
    const name = `${NAME}@${commitOf(files)}`;
    await fillStore(fromHub(hub, openStore(), name), files);
    const before = requestsOf(hub).length;
    await fillStore(fromHub(hub, openStore(), name), files);
    expect(requestsOf(hub).length).toBe(before);
  });

  test.each(['hf', 'modelscope'] as const)('reads offline what it has (%s)', async (style) => {
    const hub = await startHub({ style });
    const endpoint = hub.hub.url;
    // ModelScope has no mirrors; the folder of its files will do to be offline.
    const open = () =>
      style === 'hf'
        ? openStore().source(NAME, { hub: { endpoint } })
        : openStore().source(`${endpoint}/models/${NAME}/resolve/master/`);
    await fillStore(open(), files);
    await hub.close();
    servers.length = 0;
    await fillStore(open(), files);
    const other = openStore().source('org/other', { hub: { endpoint } });
    await expect(other.readFile('config.json')).rejects.toThrow(SourceError);
  });

  test('falls back to what the branch was when the hub is busy, not when the hub refuses', async () => {
    let status: number | undefined;
    const hub = await startHub({ hub: { status: () => status } });
    await fillStore(fromHub(hub), files);
    status = 503;
    await fillStore(fromHub(hub), files);
    status = 403;
    await expect(fromHub(hub).readFile('config.json')).rejects.toThrow(/gated/);
  });

  test('reads everything at the commit that the branch was at first', async () => {
    const newer = new Map([...files].map(([name, bytes]) => [name, bytes.map((byte) => byte ^ 1)]));
    const commits = { ['1'.repeat(40)]: files, ['2'.repeat(40)]: newer };
    const branches = { main: '1'.repeat(40) };
    const hub = await serveHub({ [NAME]: { files, revisions: [], commits, branches } });
    servers.push(hub);
    const store = openStore();
    const source = fromHub(hub, store);
    expect(await source.readFile('config.json')).toEqual(files.get('config.json'));
    branches.main = '2'.repeat(40);
    await fillStore(source, files);
    await fillStore(fromHub(hub, store), newer);
    expect((await store.list()).map(({ revision, isComplete }) => [revision, isComplete]).sort()).toEqual([
      ['1'.repeat(40), true],
      ['2'.repeat(40), true],
    ]);
  });

  test('downloads a file once that two revisions have', async () => {
    const newer = new Map(files).set('config.json', new TextEncoder().encode('{"new":true}'));
    const commits = { ['1'.repeat(40)]: files, ['2'.repeat(40)]: newer };
    const hub = await serveHub({ [NAME]: { files, revisions: [], commits } });
    servers.push(hub);
    const store = openStore();
    await fillStore(fromHub(hub, store, `${NAME}@${'1'.repeat(40)}`), files);
    const { length } = hub.cdn.requests;
    const size = await store.size();
    await fillStore(fromHub(hub, store, `${NAME}@${'2'.repeat(40)}`), newer);
    expect(hub.cdn.requests.length).toBe(length);
    expect((await store.size()) - size).toBeLessThan(5000);
    expect(await store.delete(`${NAME}@${'1'.repeat(40)}`)).toBe(true);
    await fillStore(fromHub(hub, store, `${NAME}@${'2'.repeat(40)}`), newer);
    expect(hub.cdn.requests.length).toBe(length);
  });

  test('goes on where a download was broken off, and downloads no good chunk twice', async () => {
    let isDown = true;
    const hub = await startHub({
      cdn: {
        status: ({ name, range }) =>
          isDown && name.endsWith(SHARD) && range && range.begin >= 80_000 ? 503 : undefined,
      },
    });
    await expect(fillStore(fromHub(hub), files)).rejects.toThrow(/503/);
    isDown = false;
    const [model] = await openStore().list();
    expect(model).toMatchObject({ isComplete: false });
    const stored = model!.storedBytes;
    expect(stored).toBeGreaterThan(131_072); // the whole first shard, whatever the second has
    const before = hub.cdn.sentBytes();
    const reports: number[] = [];
    await fillStore(fromHub(hub), files, { onProgress: ({ loadedBytes }) => reports.push(loadedBytes) });
    // The start of each shard is read for its header before anything is downloaded.
    expect(hub.cdn.sentBytes() - before).toBeLessThanOrEqual(totalBytes - stored + 2 * 70_000);
    expect(reports[0]).toBeGreaterThanOrEqual(131_072);
    expect(reports.at(-1)).toBe(
      [...files].reduce((sum, [name, { length }]) => sum + (name.endsWith('.safetensors') ? length : 0), 0),
    );
    expect((await openStore().list())[0]).toMatchObject({ isComplete: true });
  });

  test('downloads a file again that came with other bytes than the hub announced, and hands none of them out', async () => {
    let numLeft = 2;
    const hub = await startHub({
      cdn: { corruptAt: (_, length) => (length > 65_536 || numLeft-- <= 0 ? undefined : 5) },
    });
    await fillStore(fromHub(hub), files).catch((error) =>
      expect(error).toBeInstanceOf(CorruptCheckpointError),
    );
    await fillStore(fromHub(hub), files);
  });

  test('gives up on a file that always comes with other bytes', async () => {
    const hub = await startHub({
      hub: { corruptAt: ({ name }, length) => (name.endsWith('.json') ? length >> 1 : undefined) },
    });
    await expect(fromHub(hub).readFile('tokenizer.json')).rejects.toThrow(
      /tokenizer\.json of .*came 3 times with other bytes.*git-sha1/,
    );
  });

  test('verifies files by what the hub said before, while it says nothing', async () => {
    let isDown = false;
    const hub = await startHub({
      hub: {
        corruptAt: ({ name }, length) => (name.endsWith('.json') ? length >> 1 : undefined),
        status: ({ url }) => (isDown && url.startsWith('/api/') ? 503 : undefined),
      },
    });
    const wrongBytes = /came 3 times with other bytes/;
    await expect(fillStore(fromHub(hub), files)).rejects.toThrow(wrongBytes);
    isDown = true;
    await expect(fillStore(fromHub(hub), files)).rejects.toThrow(CorruptCheckpointError);
    await expect(fillStore(fromHub(hub), files)).rejects.toThrow(wrongBytes);
  });

  test('repairs what the disk damaged, and tells when it cannot', async () => {
    const hub = await startHub();
    await fillStore(fromHub(hub), files);
    await damage();
    await fillStore(fromHub(hub), files);
    await fillStore(fromHub(hub), files);
    await damage();
    await hub.close();
    servers.length = 0;
    await expect(fillStore(fromHub(hub), files)).rejects.toThrow(
      /were damaged in the store, and the network/,
    );
  });

  test('keeps a folder on the web, and notices when a file changes', async () => {
    const current = new Map(files);
    const headers = ({ name }: Request) => ({ ETag: `"${current.get(name) === files.get(name) ? 1 : 2}"` });
    const server = await startFolder({ headers }, current);
    await fillStore(openStore().source(`${server.url}/?signature=1`), files);
    const sent = server.sentBytes();
    await fillStore(openStore().source(`${server.url}/?signature=2`), files);
    expect(server.sentBytes() - sent).toBeLessThanOrEqual(files.size * 65_536);
    current.set(
      SHARD,
      files.get(SHARD)!.map((byte, i) => (i < 100_000 ? byte : byte ^ 1)),
    );
    await fillStore(openStore().source(server.url), current);
    expect((await openStore().list()).map(({ name, revision }) => ({ name, revision }))).toEqual([
      { name: `${server.url}/`, revision: undefined },
    ]);
    await server.close();
    servers.length = 0;
    await fillStore(openStore().source(server.url), current);
  });

  test.each([{ ranges: false }, { ranges: true }])(
    'keeps a folder of a server without ETags ($ranges)',
    async (behaviour) => {
      const server = await startFolder(behaviour);
      await fillStore(openStore().source(server.url), files);
      await server.close();
      servers.length = 0;
      await fillStore(openStore().source(server.url), files);
    },
  );

  test('knows offline that a file does not exist', async () => {
    const server = await startFolder();
    const read = () => openStore().source(server.url).readFile('none.json');
    expect(await read()).toBeUndefined();
    await server.close();
    servers.length = 0;
    expect(await read()).toBeUndefined();
  });

  test('tells that there is no room before it downloads anything, and goes on when there is', async () => {
    const hub = await startHub();
    const full = await fillStore(fromHub(hub, openStore({ maxBytes: totalBytes - 50_000 })), files).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(full).toBeInstanceOf(StoreFullError);
    const { neededBytes, availableBytes } = full as StoreFullError;
    expect(neededBytes).toBeGreaterThan(availableBytes!);
    expect(hub.cdn.sentBytes()).toBeLessThan(2 * 140_000);
    await fillStore(fromHub(hub, openStore({ maxBytes: totalBytes + 50_000 })), files);
  });

  test('deletes a model and everything that no other one needs', async () => {
    const hub = await startHub();
    const server = await startFolder({}, new Map([['config.json', new Uint8Array([123, 125])]]));
    const store = openStore();
    await fillStore(fromHub(hub, store), files);
    await store.source(server.url).readFile('config.json');
    expect(await store.delete('org/unknown')).toBe(false);
    expect(await store.delete(NAME)).toBe(true);
    expect((await store.list()).map(({ name }) => name)).toEqual([`${server.url}/`]);
    expect(await readdir(join(folder, 'chunks'))).toHaveLength(1);
    expect(await store.delete(`${server.url}/`)).toBe(true);
    expect(await readdir(join(folder, 'chunks'))).toHaveLength(0);
  });

  test('deletes nothing while it is read', async () => {
    const hub = await startHub();
    const store = openStore();
    const source = fromHub(hub, store);
    await fillStore(source, files);
    const reading = source.stream(SHARD, [{ begin: 0, end: 100_000 }])[Symbol.asyncIterator]();
    await reading.next();
    await expect(store.delete(NAME)).rejects.toThrow(StoreBusyError);
    await reading.return!();
    expect(await store.delete(NAME)).toBe(true);
  });

  test('gives the files back', async () => {
    const hub = await startHub();
    const store = openStore();
    await expect(store.export(NAME)).rejects.toThrow(/it is not in the store/);
    await fromHub(hub, store).readFile('config.json');
    await expect(store.export(NAME)).rejects.toThrow(/only a part/);
    await fillStore(fromHub(hub, store), files);
    const exported = await store.export(NAME);
    expect(exported.map(({ name, size }) => [name, size]).sort()).toEqual(
      [...files].map(([name, { length }]) => [name, length]).sort(),
    );
    for (const { name, stream } of exported) {
      const bytes = new Uint8Array(await new Response(stream()).arrayBuffer());
      expect(bytes).toEqual(files.get(name));
    }
    await damage();
    const read = await Promise.allSettled(exported.map(({ stream }) => new Response(stream()).arrayBuffer()));
    for (const { status } of read) expect(status).toBe('rejected');
  });

  test('downloads once what two readers want at the same time', async () => {
    const hub = await startHub();
    const store = openStore();
    await Promise.all([fillStore(fromHub(hub, store), files), fillStore(fromHub(hub, store), files)]);
    expect(hub.cdn.sentBytes()).toBeLessThan(totalBytes + 4 * 70_000);
  });

  test('lists the files of a hub, and nothing of a name that it does not have', async () => {
    const hub = await startHub();
    const store = openStore();
    expect((await fromHub(hub, store).list!()).sort()).toEqual([...files.keys()].sort());
    await expect(fromHub(hub, store, 'org/typo').readFile('config.json')).rejects.toThrow(
      /no such repository/,
    );
    expect(await store.source(`${hub.cdn.url}/org/model/main/`).readFile('none')).toBeUndefined();
    expect(await store.list()).toEqual([]);
  });

  test('passes local sources through', () => {
    const source: Source = {
      label: 'mine',
      readFile: async () => undefined,
      readStart: async () => undefined,
      async *stream() {},
    };
    expect(openStore().source(source)).toBe(source);
  });
});
