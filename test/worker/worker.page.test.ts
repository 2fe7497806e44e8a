/**
 * An engine in the worker of a real page whose content security policy allows nothing but the site itself: loading through the store,
 * streaming, stopping, what goes wrong, and how busy the page's own thread is.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { EmbeddingRequest } from '../../src/index.ts';
import { type PageTest, startPageTest } from '../page.ts';
import type { AskOptions, LoadRequest } from './worker-in-page.ts';

const MODEL = 'examples/models/tiny-qwen3';
const FOLDER = join(import.meta.dirname, '../..', MODEL);
const POLICY = "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'";
const messages = [{ role: 'user', content: 'What is 27 + 58?' }];
const sum = { messages, temperature: 0 };
const short = { ...sum, enable_thinking: false };
const long = { messages: [{ role: 'user', content: 'Tell me a story.' }], temperature: 1, max_tokens: 400 };

let pageTest: PageTest;
let context: BrowserContext;
let page: Page;
beforeAll(async () => {
  pageTest = await startPageTest();
  context = await pageTest.browser.newContext();
  page = await openPage(POLICY);
});
afterAll(() => pageTest?.close());

async function openPage(policy: string): Promise<Page> {
  const opened = await context.newPage();
  const body = '<!doctype html><body><script type="module" src="/test/worker/worker-in-page.ts"></script>';
  await opened.route('**/a/page.html', (route) =>
    route.fulfill({ contentType: 'text/html', headers: { 'Content-Security-Policy': policy }, body }),
  );
  await opened.goto(new URL('a/page.html', pageTest.url).href);
  await opened.waitForFunction(() => 'inPage' in window);
  return opened;
}

const load = (request: LoadRequest, where = page) =>
  where.evaluate((one) => window.inPage.load(one), request);
const ask = (body: typeof sum, options?: AskOptions) =>
  page.evaluate(([body, options]) => window.inPage.ask(body, options), [body, options] as const);
const engineWorkers = () => page.workers().filter((worker) => worker.url().includes('engine-worker'));
const longTasks = () => page.evaluate(() => window.inPage.longTasks());

describe('loading in a worker', () => {
  test('fails on the page with the class and message of what went wrong', async () => {
    const missing = await load({ from: '../nothing/' });
    expect(missing.failure).toMatchObject({ instanceOf: 'SourceError', name: 'SourceError' });
    expect(missing.failure!.message).toContain(`${pageTest.url}nothing/`);
    const small = await load({ from: `/${MODEL}`, memoryBytes: 1 });
    expect(small).toMatchObject({ failure: { instanceOf: 'DeviceLimitError' } });
    const wrong = await load({ from: `/${MODEL}`, contextLength: 1e9 });
    expect(wrong.failure).toMatchObject({ instanceOf: 'InvalidInputError' });
    await expect.poll(engineWorkers).toEqual([]);
  });

  test('ends at once when it is aborted, with the reason', async () => {
    const { failure } = await load({ from: `/${MODEL}`, isAborted: true });
    expect(failure).toMatchObject({ name: 'Error', message: 'enough' });
    await expect.poll(engineWorkers).toEqual([]);
  });

  test('takes files of an input, a directory and a drop, and says of other sources that they cannot cross', async () => {
    // Everything but the weights is read before the model turns out to be too large.
    const tooLarge = { failure: { instanceOf: 'DeviceLimitError' } };
    await page.setInputFiles('input', FOLDER);
    expect(await load({ from: { given: 'input' }, memoryBytes: 1 })).toMatchObject(tooLarge);
    const urls = Object.fromEntries(readdirSync(FOLDER).map((name) => [name, `/${MODEL}/${name}`]));
    await page.evaluate((urls) => window.inPage.fillDirectory(urls), urls);
    expect(await load({ from: { given: 'directory' }, memoryBytes: 1 })).toMatchObject(tooLarge);
    const session = await context.newCDPSession(page);
    for (const type of ['dragEnter', 'dragOver', 'drop'] as const) {
      const data = { items: [], files: [FOLDER], dragOperationsMask: 1 };
      await session.send('Input.dispatchDragEvent', { type, x: 20, y: 20, data });
    }
    expect(await page.evaluate(() => window.inPage.dropFailure())).toMatchObject(tooLarge.failure);
    expect(await load({ from: { given: 'drop' }, memoryBytes: 1 })).toMatchObject(tooLarge);
    expect((await load({ from: { given: 'source' } })).failure).toMatchObject({
      instanceOf: 'InvalidInputError',
      message: expect.stringContaining('cannot cross to a worker'),
    });
  });

  test('tells what a content security policy must allow', async () => {
    const strict = await openPage(POLICY.replace("worker-src 'self'", "worker-src 'none'"));
    const { failure } = await load({ from: `/${MODEL}` }, strict);
    expect(failure).toMatchObject({
      instanceOf: 'WorkerError',
      message: expect.stringContaining("worker-src 'self'"),
    });
    await strict.close();
  });

  test('leaves the answers to a server when the device cannot hold the model', async () => {
    const { where } = await load({ from: `/${MODEL}`, memoryBytes: 1, fallbackURL: '/v1' });
    expect(where).toBe('remote');
  });
});

describe('an engine in a worker', () => {
  beforeAll(async () => {
    await longTasks();
    const loaded = await load({ from: `/${MODEL}`, contextLength: 640, isStored: true });
    expect(loaded).toMatchObject({ where: 'worker', architecture: 'Qwen3ForCausalLM' });
    expect(loaded.phases).toEqual(['config', 'fit', 'download', 'weights', 'compile', 'ready']);
    console.info(
      `tasks of the page's thread above 50 ms while loading: ${JSON.stringify(await longTasks())}`,
    );
  });

  test('keeps what it downloads in the store of the page', async () => {
    expect(await page.evaluate(() => window.inPage.stored())).toMatchObject([{ isComplete: true }]);
    expect(await page.evaluate(() => window.inPage.models())).toEqual(['tiny-qwen3']);
  });

  test('streams an answer piece by piece, and the thread of the page gives the GPU nothing to do', async () => {
    await longTasks();
    const { text, numChunks, finishReason } = await ask(sum);
    expect({ text: text.slice(-13), finishReason }).toEqual({ text: '27 + 58 = 85.', finishReason: 'stop' });
    expect(numChunks).toBeGreaterThan(20);
    expect(await page.evaluate(() => window.inPage.submits())).toBe(0);
    console.info(
      `tasks of the page's thread above 50 ms while answering: ${JSON.stringify(await longTasks())}`,
    );
  });

  test('embeds texts, and refuses to in words', async () => {
    const embed = (body: EmbeddingRequest) => page.evaluate((one) => window.inPage.embed(one), body);
    expect(await embed({ input: ['a', 'b'], dimensions: 8, any_model: true })).toEqual({ lengths: [8, 8] });
    const { failure } = await embed({ input: 'a' });
    expect(failure).toMatchObject({ instanceOf: 'ApiError', status: 400, param: 'model' });
  });

  test('stops within a step when it is aborted or left, and answers the next request as before', async () => {
    const { text } = await ask(short);
    expect(text).toMatch(/^27 \+ 58 = \d+\.$/); // without thinking, not always 85
    const aborted = await ask(long, { abortAfter: 5 });
    const left = await ask(long, { leaveAfter: 5 });
    expect(aborted.numChunks).toBe(5);
    expect((await ask(short)).text).toBe(text);
    console.info(
      `ended ${aborted.endMilliseconds} ms after the abort, ${left.endMilliseconds} ms after leaving`,
    );
  });

  test('refuses a bad request with every field of the error, also over HTTP', async () => {
    const bad = { ...sum, temperature: 'hot' as never };
    expect((await ask(bad)).failure).toMatchObject({
      instanceOf: 'ApiError',
      status: 400,
      param: 'temperature',
    });
    const { status, text } = await page.evaluate(
      (body) => window.inPage.post('/v1/chat/completions', body),
      bad,
    );
    expect({ status, ...JSON.parse(text).error }).toMatchObject({ status: 400, param: 'temperature' });
  });

  test('is lost, and ends what it answers, when its worker fails', async () => {
    const answering = ask(long);
    await engineWorkers()[0]!.evaluate(() => {
      setTimeout(() => {
        throw new Error('boom');
      });
    });
    expect((await answering).failure).toMatchObject({ instanceOf: 'ApiError', status: 503 });
    expect(await page.evaluate(() => window.inPage.lost())).toMatchObject({
      instanceOf: 'WorkerError',
      message: expect.stringContaining('boom'),
    });
  });

  // A second load: half a minute of compiling on a software adapter.
  if (inject('everyCase')) {
    test('is lost with its GPU, can be loaded again, and ends its worker when it is disposed of', async () => {
      const again = { from: `/${MODEL}`, contextLength: 640, isStored: true };
      expect((await load(again)).phases).toEqual(['config', 'fit', 'weights', 'compile', 'ready']);
      const answering = ask(long);
      await (await pageTest.browser.newBrowserCDPSession()).send('Browser.crashGpuProcess');
      expect((await answering).failure).toMatchObject({ instanceOf: 'ApiError', status: 503 });
      expect(await page.evaluate(() => window.inPage.lost())).toMatchObject({
        instanceOf: 'DeviceLostError',
      });
      await page.evaluate(() => window.inPage.dispose());
      expect((await ask(short)).failure).toMatchObject({ instanceOf: 'ApiError', status: 503 });
      await expect.poll(engineWorkers).toEqual([]);
    });
  }
});
