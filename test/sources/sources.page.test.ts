import { readdirSync, readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { folder } from '../../src/node.ts';
import { type PageTest, startPageTest } from '../page.ts';
import { type Behaviour, type FileServer, serve } from './file-server.ts';
import { serveHub } from './hub-server.ts';
import { type Failure, readCheckpoint, type Summary } from './read-checkpoint.ts';
import type {} from './sources-in-page.ts';

const NAME = 'qwen3-dense';
const PATH = `test/fixtures/goldens/${NAME}`;
const FOLDER = fileURLToPath(new URL(`../../${PATH}`, import.meta.url));
const files = new Map(
  readdirSync(FOLDER).map((name) => [name, new Uint8Array(readFileSync(join(FOLDER, name)))]),
);

let pageTest: PageTest;
let page: Page;
let wanted: Summary | Failure;
beforeAll(async () => {
  wanted = await readCheckpoint(() => folder(FOLDER));
  expect(Object.keys((wanted as Summary).tensors).length).toBeGreaterThan(30);
  pageTest = await startPageTest();
  ({ page } = await pageTest.open(`${PATH}/config.json`)); // any page of the dev server's origin
  await page.addScriptTag({ type: 'module', url: '/test/sources/sources-in-page.ts' });
  await page.waitForFunction(() => 'sources' in window);
});
afterAll(() => pageTest?.close());

const servers: FileServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

/** Opens the fixture in the page, from a server of another origin than the page's. */
async function fromOtherSite(
  headers: Record<string, string>,
  behaviour: Behaviour = {},
): Promise<Summary | Failure> {
  const server = await serve(files, { headers: () => headers, ...behaviour });
  servers.push(server);
  return page.evaluate((url) => window.sources.fromUrl(url), `${server.url}/`);
}

describe('a page', () => {
  test('reads a checkpoint of its own site by a relative URL', async () => {
    expect(await page.evaluate(() => window.sources.fromUrl('.'))).toEqual(wanted);
    expect(await page.evaluate((path) => window.sources.fromUrl(`/${path}`), PATH)).toEqual(wanted);
  });

  test('reads a checkpoint of another site that allows it, whatever headers that site exposes', async () => {
    const allow = { 'Access-Control-Allow-Origin': '*' };
    const expose = { ...allow, 'Access-Control-Expose-Headers': 'Content-Range' };
    expect(await fromOtherSite(allow)).toEqual(wanted);
    expect(await fromOtherSite(expose)).toEqual(wanted);
    expect(await fromOtherSite(allow, { ranges: false })).toEqual(wanted);
  });

  test('reads a checkpoint of another site that compresses everything and hides it', async () => {
    const answer: Behaviour['answer'] = ({ name }, response) => {
      const file = files.get(name);
      if (!file) return false;
      const zipped = gzipSync(file);
      const lengths = { 'Content-Encoding': 'gzip', 'Content-Length': String(zipped.length) };
      response.writeHead(200, { 'Access-Control-Allow-Origin': '*', ...lengths }).end(zipped);
      return true;
    };
    const headers = { 'Access-Control-Allow-Origin': '*' };
    expect(await fromOtherSite(headers, { answer })).toEqual(wanted);
  });

  test('reads on where a connection broke', async () => {
    const cutAfter: Behaviour['cutAfter'] = ({ index }) => (index > 6 && index % 2 ? 100_000 : undefined);
    const headers = { 'Access-Control-Allow-Origin': '*', 'Access-Control-Expose-Headers': 'Content-Range' };
    expect(await fromOtherSite(headers, { cutAfter })).toEqual(wanted);
    expect(servers[0]!.requests.length).toBeGreaterThan(3 + 3 + 3);
  });

  test('is told about CORS when another site does not allow it', async () => {
    const failure = (await fromOtherSite({})) as Failure;
    expect(failure.name).toBe('SourceError');
    expect(failure.message).toMatch(
      /config\.json: the server does not allow pages of http:.*Access-Control-Allow-Origin/,
    );
  });

  test('reads a gated repository of a hub with its token, which stays out of where the hub redirects to', async () => {
    const headers = {
      'Access-Control-Allow-Origin': '*',
      'Access-Control-Expose-Headers': 'X-Error-Code, ETag',
    };
    const tokens = ['hf_secret'];
    const repositories = { 'org/gated': { files, revisions: ['main'], tokens } };
    const { hub, cdn } = await serveHub(repositories, { headers, cdn: { headers: () => headers } });
    servers.push(hub, cdn);
    const open = (token?: string) =>
      page.evaluate((options) => window.sources.fromHub('org/gated', options), { endpoint: hub.url, token });
    expect(await open('hf_secret')).toEqual(wanted);
    expect(cdn.requests.length).toBeGreaterThan(0);
    for (const { headers, url } of cdn.requests)
      expect(JSON.stringify(headers) + url).not.toContain('hf_secret');
    expect(((await open()) as Failure).message).toMatch(
      /org\/gated on .* is gated \(401\)\. Accept its terms/,
    );
  });

  test('reads a folder chosen by an input', async () => {
    await page.setInputFiles('input', FOLDER);
    expect(await page.evaluate(() => window.sources.given)).toEqual(wanted);
  });

  test('reads a directory handle, and finds the checkpoint inside it', async () => {
    const urls = Object.fromEntries([...files.keys()].map((name) => [name, `/${PATH}/${name}`]));
    expect(await page.evaluate((urls) => window.sources.fromDirectory(urls), urls)).toEqual(wanted);
  });

  describe('where things are dropped', () => {
    let outer: string;
    beforeAll(async () => {
      outer = await mkdtemp(join(tmpdir(), 'shaderloom-drop-'));
      await cp(FOLDER, join(outer, 'my model'), { recursive: true });
      await mkdir(join(outer, '.cache'));
      await writeFile(join(outer, '.cache/config.json'), '{}');
      // More entries than a browser hands out at a time.
      for (let i = 0; i < 150; i++) await writeFile(join(outer, `note-${i}.txt`), '');
    });
    afterAll(() => rm(outer, { recursive: true }));

    async function drop(paths: string[]): Promise<Summary | Failure | undefined> {
      await page.evaluate(() => {
        window.sources.given = undefined;
      });
      const session = await page.context().newCDPSession(page);
      for (const type of ['dragEnter', 'dragOver', 'drop'] as const) {
        const data = { items: [], files: paths, dragOperationsMask: 1 };
        await session.send('Input.dispatchDragEvent', { type, x: 20, y: 20, data });
      }
      await page.waitForFunction(() => window.sources.given);
      return page.evaluate(() => window.sources.given);
    }

    test('reads a dropped folder, and finds the checkpoint inside it', async () => {
      expect(await drop([outer])).toEqual(wanted);
      expect(await drop([join(outer, 'my model')])).toEqual(wanted);
    });

    test('reads the dropped files of a folder', async () => {
      expect(await drop([...files.keys()].map((name) => join(FOLDER, name)))).toEqual(wanted);
    });

    test('is told when there is no checkpoint in it', async () => {
      const failure = (await drop([join(outer, 'note-1.txt')])) as Failure;
      expect(failure).toMatchObject({ name: 'SourceError' });
      expect(failure.message).toMatch(
        /the dropped note-1\.txt: there is no config\.json.*Found there: note-1\.txt/,
      );
    });
  });
});
