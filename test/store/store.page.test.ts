/**
 * The store of a real page: its worker, the origin private file system, several tabs, quotas; and the fault scripts of
 * faults.long.test.ts with pages that are reloaded or closed in the middle.
 */

import { createHash } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import type { BrowserContext, CDPSession, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type PageTest, startPageTest } from '../page.ts';
import { seededRandom } from '../seeded-random.ts';
import { type HubBehaviour, type HubServer, serveHub } from '../sources/hub-server.ts';
import { checkpointFiles, type Files } from './checkpoint-files.ts';
import { faultsOf, pick } from './fault-behaviour.ts';
import type { LoadEnding } from './store-in-page.ts';

const NUM_SCRIPTS = process.env.EVERY_CASE === '1' ? 200 : 20;
const MAX_SESSIONS = 2;
const NAME = 'org/model';
const PLACE = 'test/fixtures/goldens/qwen3-dense/config.json'; // any file of the dev server's origin
const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const TYPED = ['CorruptCheckpointError', 'SourceError', 'StoreFullError', 'StoreUnavailableError'];
const HEADERS = {
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Expose-Headers': 'X-Error-Code, ETag, Content-Range',
};

let pageTest: PageTest;
let context: BrowserContext;
let page: Page;
let session: CDPSession;
beforeAll(async () => {
  pageTest = await startPageTest();
  context = await pageTest.browser.newContext();
  page = await openPage();
});
afterAll(() => pageTest?.close());

const servers: HubServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
  await limitQuota(undefined);
  await page.evaluate((name) => window.store.delete(name), NAME);
});

async function openPage(): Promise<Page> {
  const opened = await context.newPage();
  await opened.goto(new URL(PLACE, pageTest.url).href);
  await startStore(opened);
  session = await context.newCDPSession(opened);
  return opened;
}

async function startStore(page: Page): Promise<void> {
  await page.addScriptTag({ type: 'module', url: '/test/store/store-in-page.ts' });
  await page.waitForFunction(() => 'store' in window);
}

async function startHub(files: Files, behaviour: HubBehaviour = {}): Promise<HubServer> {
  const exposed = { ...behaviour.cdn, headers: () => HEADERS };
  const hub = await serveHub(
    { [NAME]: { files, revisions: ['main'] } },
    { ...behaviour, headers: HEADERS, cdn: exposed },
  );
  servers.push(hub);
  return hub;
}

const load = (page: Page, { hub }: HubServer, files: Files): Promise<LoadEnding> =>
  page.evaluate((request) => window.store.load(request), {
    name: NAME,
    endpoint: hub.url,
    sizes: [...files].map(([name, { length }]) => [name, length] as [string, number]),
  });

const sentBytes = ({ hub, cdn }: HubServer) => hub.sentBytes() + cdn.sentBytes();
const hashesOf = (files: Files) =>
  Object.fromEntries(
    [...files].map(([name, bytes]) => [name, createHash('sha256').update(bytes).digest('hex')]),
  );

function repeat(bytes: Uint8Array, times: number): Uint8Array {
  return new Uint8Array(Buffer.concat(Array.from({ length: times }, () => bytes)));
}

/** @param bytes above what is used now; undefined ends the limit */
async function limitQuota(bytes: number | undefined): Promise<void> {
  const { origin } = new URL(pageTest.url);
  if (bytes === undefined) return void (await session.send('Storage.overrideQuotaForOrigin', { origin }));
  const { usage } = await session.send('Storage.getUsageAndQuota', { origin });
  await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: usage + bytes });
}

describe(`the store of a page (seed ${seed})`, () => {
  const files = checkpointFiles(seededRandom(seed));
  const totalBytes = [...files.values()].reduce((sum, { length }) => sum + length, 0);

  test('keeps a checkpoint, and loads it in another tab without its hub', async () => {
    const hub = await startHub(files);
    expect(await load(page, hub, files)).toEqual({ hashes: hashesOf(files) });
    const [model] = await page.evaluate(() => window.store.list());
    expect(model).toMatchObject({ name: NAME, storedBytes: totalBytes, totalBytes, isComplete: true });
    await hub.close();
    servers.length = 0;
    const other = await openPage();
    expect(await load(other, hub, files)).toEqual({ hashes: hashesOf(files) });
    await other.close();
    session = await context.newCDPSession(page);
  });

  test('lets two tabs wait for one download', async () => {
    const hub = await startHub(files);
    const other = await openPage();
    const wanted = { hashes: hashesOf(files) };
    expect(await Promise.all([load(page, hub, files), load(other, hub, files)])).toEqual([wanted, wanted]);
    // Both read configs' listing and headers for themselves.
    expect(sentBytes(hub)).toBeLessThan(totalBytes + 6 * 70_000);
    await other.close();
    session = await context.newCDPSession(page);
  });

  // Not beforehand: Chrome tells every page of the same 10 GiB, whatever it will give.
  test('tells in the middle of a download that the browser gives no more room, and goes on from there', async () => {
    // A browser gives a file that is written room in steps of a megabyte.
    const shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
    const large = new Map(
      [...files].map(([name, bytes]) => [name, repeat(bytes, shards.includes(name) ? 12 : 1)]),
    );
    const shardBytes = shards.reduce((sum, name) => sum + large.get(name)!.length, 0);
    const hub = await startHub(large);
    await limitQuota(Math.floor(shardBytes / 2));
    expect(await load(page, hub, large)).toMatchObject({ error: 'StoreFullError' });
    const [partial] = await page.evaluate(() => window.store.list());
    expect(partial).toMatchObject({ isComplete: false });
    expect(partial!.storedBytes).toBeGreaterThan(500_000);
    await limitQuota(undefined);
    const before = hub.cdn.sentBytes();
    expect(await load(page, hub, large)).toEqual({ hashes: hashesOf(large) });
    expect(hub.cdn.sentBytes() - before).toBeLessThan(
      shardBytes - partial!.storedBytes + 4 * 70_000 + 100_000,
    );
  });

  test('tells what a content security policy must allow for the worker', async () => {
    const other = await context.newPage();
    await other.route('**/config.json', (route) =>
      route.fulfill({
        contentType: 'text/html',
        headers: { 'Content-Security-Policy': "worker-src 'none'" },
        body: '<!doctype html>',
      }),
    );
    await other.goto(new URL(PLACE, pageTest.url).href);
    await other.evaluate("import('/test/store/store-in-page.ts')"); // as text: Vitest rewrites imports
    const ending = await other.evaluate(() => window.store.list().catch((error: Error) => error.message));
    expect(ending).toMatch(/worker could not be started.*worker-src 'self'/);
    await other.close();
  });

  test(`${NUM_SCRIPTS} random scripts of faults end in verified files or typed errors, and in a store that completes`, async () => {
    const endings: Record<string, number> = {};
    for (let i = 0; i < NUM_SCRIPTS; i++) {
      try {
        for (const ending of await runScript(seed + i)) endings[ending] = (endings[ending] ?? 0) + 1;
      } catch (error) {
        throw new Error(
          `Script ${seed + i} (SEED=${seed + i} repeats it first): ${(error as Error).message}`,
          {
            cause: error,
          },
        );
      }
    }
    const counts = Object.entries(endings).sort(([a], [b]) => a.localeCompare(b));
    console.info(
      `${NUM_SCRIPTS} scripts of faults on a page's store from seed ${seed}, all complete in the end; their sessions: ` +
        counts.map(([ending, count]) => `${count} ${ending}`).join(', '),
    );
    expect(endings.complete).toBeGreaterThan(NUM_SCRIPTS / 8);
  }, 1_200_000);
});

async function runScript(seed: number): Promise<string[]> {
  const random = seededRandom(seed);
  const files = checkpointFiles(random);
  const wanted = hashesOf(files);
  let isOver = false;
  const faults = faultsOf(random, () => isOver, true);
  const hub = await startHub(files, { hub: faults, cdn: faults });
  const endings: string[] = [];

  /** Lets a load run until it ends, or something ends it first. */
  async function runSession(): Promise<string> {
    const way = pick(random, ['to its end', 'to its end', 'stop', 'reload', 'close', 'quota']);
    if (way === 'quota') await limitQuota(Math.floor(random() * 2_500_000));
    const loading = load(page, hub, files).catch(() => undefined); // the page may go
    if (way !== 'to its end' && way !== 'quota') {
      const limit = sentBytes(hub) + random() * 400_000;
      let isDone = false;
      void loading.then(() => {
        isDone = true;
      });
      while (!isDone && sentBytes(hub) < limit) await setTimeout(1);
      if (way === 'stop') await page.evaluate(() => window.store.stop());
      else await leave(way);
      if (way !== 'stop') return way === 'reload' ? 'page reloaded' : 'page closed';
    }
    const ending = await loading;
    if (way === 'quota') await limitQuota(undefined);
    if (ending?.hashes) {
      expect(ending.hashes).toEqual(wanted);
      return 'complete';
    }
    if (ending?.error === 'AbortError') return 'stopped';
    expect(TYPED, `${ending?.error}: ${ending?.message}`).toContain(ending?.error);
    return ending!.error!;
  }

  async function leave(way: string): Promise<void> {
    if (way === 'reload') {
      await page.reload();
      await startStore(page);
      return;
    }
    const old = page;
    page = await openPage();
    await old.close();
    session = await context.newCDPSession(page);
  }

  for (let i = 1 + Math.floor(random() * MAX_SESSIONS); i > 0; i--) {
    endings.push(await runSession());
    if (random() < 0.3) {
      await page.evaluate(([file, byte]) => window.store.damage(file!, byte!), [random(), random()]);
      endings.push('disk damaged');
    }
  }
  isOver = true;
  expect(await load(page, hub, files)).toEqual({ hashes: wanted });
  await hub.close();
  servers.splice(servers.indexOf(hub), 1);
  await page.evaluate((name) => window.store.delete(name), NAME);
  return endings;
}
