/**
 * @file The chat page as a reader meets it: a real browser, the real dev server, the embedded model. One page goes through a
 * visit from the first question to loading other checkpoints, so the tests of a group stand in their order.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { Locator, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { type OpenPage, type PageTest, startPageTest } from '../page.ts';
import { type FileServer, serve } from '../sources/file-server.ts';
import { serveHub } from '../sources/hub-server.ts';

const MODEL_FOLDER = join(import.meta.dirname, '../../examples/models/tiny-qwen3');
const GGUF_FILE = join(import.meta.dirname, '../fixtures/goldens/gguf-qwen3-q4km/tiny-qwen3-Q4_K_M.gguf');
/** Software adapters compile and compute slowly, and other tests run beside. */
const TIMEOUT = 200_000;

let pages: PageTest;
beforeAll(async () => {
  pages = await startPageTest();
});
afterAll(() => pages.close());

const input = (page: Page) => page.getByRole('textbox', { name: 'Your message' });
const thinkingPanel = (answer: Locator) => answer.getByRole('group', { name: 'Thinking' });
const notice = (page: Page) => page.getByRole('alert');

async function waitForModel(page: Page, name: string): Promise<void> {
  await page.getByRole('button', { name, exact: true }).waitFor({ timeout: TIMEOUT });
}

/** Waits for the end of a load, and says how far it was if it does not come. */
async function waitForLoading(page: Page): Promise<void> {
  const card = page.locator('#loading');
  await card.waitFor({ state: 'hidden', timeout: TIMEOUT }).catch(async (error) => {
    throw new Error(`still says: ${await card.innerText()}`, { cause: error });
  });
}

async function ask(page: Page, question: string): Promise<Locator> {
  const answers = page.getByRole('article', { name: 'Answer' });
  const numBefore = await answers.count();
  await input(page).fill(question);
  await input(page).press('Enter');
  return answers.nth(numBefore);
}

/** Waits for the end of an answer and returns its text, without thoughts and buttons. */
async function finish(answer: Locator): Promise<string> {
  await answer.getByRole('button', { name: 'Regenerate' }).waitFor({ timeout: TIMEOUT });
  return (await answer.locator('.prose').allTextContents()).join('');
}

/** Asks something short, to see that the page still works. */
async function expectOslo(page: Page): Promise<void> {
  expect(await finish(await ask(page, 'What is the capital of Norway?'))).toContain('Oslo');
}

async function openModelSheet(page: Page, current: string): Promise<void> {
  await page.getByRole('button', { name: current, exact: true }).click();
  await page.getByRole('dialog', { name: 'Model' }).waitFor();
}

async function loadUrl(page: Page, current: string, url: string): Promise<void> {
  await openModelSheet(page, current);
  await page.getByLabel('URL of the folder').fill(url);
  await page.getByLabel('URL of the folder').press('Enter');
}

describe('a visit to the chat page', () => {
  let visit: OpenPage;
  let page: Page;
  /** The embedded checkpoint once more, on another server under another name. */
  let elsewhere: FileServer;

  beforeAll(async () => {
    const names = await readdir(MODEL_FOLDER);
    const files = await Promise.all(
      names.map(async (name) => [`copy/${name}`, await readFile(join(MODEL_FOLDER, name))] as const),
    );
    // What a hub says with every answer, so that pages of other sites may read it.
    const allow = { 'Access-Control-Allow-Origin': '*', 'Access-Control-Expose-Headers': 'Content-Range' };
    elsewhere = await serve(new Map(files), { headers: () => allow });
    visit = await pages.open('/', { viewport: { width: 1100, height: 760 } });
    page = visit.page;
  });
  afterAll(async () => {
    await page.close();
    await elsewhere.close();
  });

  test('begins with a model that is ready, and with questions to ask', async () => {
    await waitForModel(page, 'tiny-qwen3');
    expect(await page.getByRole('list', { name: 'Example prompts' }).getByRole('button').count()).toBe(6);
    expect(await input(page).evaluate((element) => element === document.activeElement)).toBe(true);
    const figures = (await page.getByLabel('Figures').textContent()) ?? '';
    expect(figures).toMatch(/GPU memory\d[\d.]* MB/);
    expect(figures).toMatch(/Adapter\w/);
    await visit.screenshot('chat-welcome');
  });

  test('shows the thoughts as they come, folds them away, and answers 85', async () => {
    await recordStream(page);
    const answer = await ask(page, 'What is 27 + 58?');
    await answer.getByText('tens').first().waitFor({ state: 'attached' });
    await visit.screenshot('chat-thinking');
    expect(await finish(answer)).toContain('85');
    const thoughts = await recordedThoughts(page);
    expect(thoughts.length, 'states of the panel before the answer began').toBeGreaterThan(1);
    for (const [i, text] of thoughts.entries()) expect(text.startsWith(thoughts[i - 1] ?? '')).toBe(true);
    const panel = thinkingPanel(answer);
    expect(await panel.getAttribute('open')).toBeNull();
    expect(await panel.textContent()).toMatch(/^Thought for \d[\d.]* m?s/);
    await panel.locator('summary').click();
    expect(await panel.getByRole('region', { name: 'Thoughts' }).textContent()).toContain('result: 85');
    await visit.screenshot('chat-answer');
  });

  test('tells how fast it was', async () => {
    const figures = (await page.getByLabel('Figures').textContent()) ?? '';
    expect(figures).toMatch(/Speed[\d.,]+ tokens\/s/);
    expect(figures).toMatch(/First token[\d.]+ m?s/);
  });

  test('answers without a thinking panel when thinking is off', async () => {
    const toggle = page.getByRole('switch', { name: 'Thinking' });
    await toggle.click();
    expect(await toggle.getAttribute('aria-checked')).toBe('false');
    const answer = await ask(page, 'What is the capital of Norway?');
    expect(await finish(answer)).toContain('Oslo');
    expect(await thinkingPanel(answer).count()).toBe(0);
  });

  test('stops on Escape and answers the next question right', async () => {
    const story = await ask(page, 'Tell me a story about a fox.');
    await page.keyboard.press('Escape');
    await finish(story);
    expect(await story.textContent()).toContain('Stopped');
    expect(await page.getByRole('button', { name: 'Send' }).isVisible()).toBe(true);
    await expectOslo(page);
  });

  test('writes the same greedy answer again on Regenerate', async () => {
    const answer = page.getByRole('article', { name: 'Answer' }).last();
    const before = await answer.locator('.prose').elementHandle();
    await answer.getByRole('button', { name: 'Regenerate' }).click();
    expect(await finish(answer)).toContain('Oslo');
    expect(await before?.evaluate((element) => element.isConnected)).toBe(false);
  });

  test('breaks the line on Shift+Enter', async () => {
    await input(page).fill('one');
    await input(page).press('Shift+Enter');
    await input(page).pressSequentially('two');
    expect(await input(page).inputValue()).toBe('one\ntwo');
    await input(page).fill('');
  });

  test('shows the checkpoint’s sampling and obeys what is changed', async () => {
    await page.getByRole('button', { name: 'Settings' }).click();
    const settings = page.getByRole('dialog', { name: 'Settings' });
    expect(await settings.getByLabel('Temperature').getAttribute('placeholder')).toBe('0');
    expect(await settings.getByLabel('Max tokens').getAttribute('placeholder')).toBe('256');
    await settings.getByLabel('Max tokens').fill('6');
    await settings.getByLabel('Top-p').fill('7');
    expect(await settings.textContent()).toContain('Not used');
    await visit.screenshot('chat-settings');
    await page.keyboard.press('Escape');
    const answer = await ask(page, 'What is 27 + 58?');
    await finish(answer);
    expect(await answer.textContent()).toContain('Ended at the limit of tokens · 6 tokens');
    await page.getByRole('button', { name: 'Settings' }).click();
    await settings.getByRole('button', { name: /^Reset/ }).click();
    expect(await settings.getByLabel('Max tokens').inputValue()).toBe('');
    await settings.getByRole('button', { name: 'Close' }).click();
  });

  test('starts a new chat', async () => {
    await page.getByRole('button', { name: 'New chat' }).click();
    expect(await page.getByRole('article').count()).toBe(0);
    expect(await page.getByRole('heading', { name: 'What shall we weave?' }).isVisible()).toBe(true);
  });

  test('tells kindly what is wrong with a URL, and goes on', async () => {
    await loadUrl(page, 'tiny-qwen3', `${pages.url}nothing-here/`);
    await notice(page).waitFor();
    expect(await notice(page).textContent()).toContain('nothing-here');
    await visit.screenshot('chat-broken-url');
    await notice(page).getByRole('button', { name: 'Dismiss' }).click();
    await expectOslo(page);
  });

  test('can be told to stop loading, and keeps the model it has', async () => {
    const gate = await holdWeights(page);
    await loadUrl(page, 'tiny-qwen3', `${elsewhere.url}/copy/`);
    await page.getByText(/ MB · \d+ of \d+ tensors/).waitFor();
    await visit.screenshot('chat-loading');
    await page.getByRole('button', { name: 'Cancel' }).click();
    await gate.open();
    await page.getByRole('progressbar').waitFor({ state: 'hidden' });
    await expectOslo(page);
  });

  test('loads a checkpoint from another server and shows how far it is', async () => {
    const gate = await holdWeights(page);
    await loadUrl(page, 'tiny-qwen3', `${elsewhere.url}/copy/`);
    await page.getByText(/^[1-9][\d.]* [kM]B of 2\.6\d MB · [1-9]\d* of 68 tensors/).waitFor();
    await gate.open();
    await waitForModel(page, 'copy');
    await expectOslo(page);
  });

  test('loads a folder that is chosen or dropped', async () => {
    await openModelSheet(page, 'copy');
    await page.getByLabel('Checkpoint folder').setInputFiles(MODEL_FOLDER);
    await waitForModel(page, 'tiny-qwen3');
    await expectOslo(page);
    await drop(page, MODEL_FOLDER);
    await page.getByText('Loading tiny-qwen3').waitFor();
    await waitForLoading(page);
    expect(await notice(page).count()).toBe(0);
    await expectOslo(page);
  });

  test('loads a GGUF file that is dropped or chosen', async () => {
    await drop(page, GGUF_FILE);
    await page.getByText('Loading tiny-qwen3-Q4_K_M.gguf').waitFor();
    await waitForLoading(page);
    expect(await notice(page).count()).toBe(0);
    // Its weights are random: whatever it says, it says something.
    expect((await finish(await ask(page, 'Hello'))).length).toBeGreaterThan(0);
    await openModelSheet(page, 'tiny-qwen3-Q4_K_M.gguf');
    await page.getByLabel('GGUF file', { exact: true }).setInputFiles(GGUF_FILE);
    await page.getByText('Loading tiny-qwen3-Q4_K_M.gguf').waitFor();
    await waitForLoading(page);
    expect(await notice(page).count()).toBe(0);
    await openModelSheet(page, 'tiny-qwen3-Q4_K_M.gguf');
    await page.getByRole('list', { name: 'Models of this page' }).getByRole('button').first().click();
    await waitForModel(page, 'tiny-qwen3');
  });

  test('fits a phone, in the light and in the dark', async () => {
    await page.setViewportSize({ width: 360, height: 740 });
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(360);
    await visit.screenshot('chat-phone');
    await page.emulateMedia({ colorScheme: 'dark' });
    await openModelSheet(page, 'tiny-qwen3');
    await visit.screenshot('chat-phone-model-dark');
    await page.keyboard.press('Escape');
    await page.setViewportSize({ width: 1100, height: 760 });
    await visit.screenshot('chat-dark');
  });

  test('has a list of models, and changes between them and their ways of decoding', async () => {
    await openModelSheet(page, 'tiny-qwen3');
    const entries = page.getByRole('list', { name: 'Models of this page' }).getByRole('button');
    expect(await entries.locator('strong').allTextContents()).toEqual([
      'tiny-qwen3',
      'tiny-qwen3-moe',
      'tiny-deepseek-v3',
      'tiny-deepseek-v3-fp8',
    ]);
    await visit.screenshot('chat-model-list');
    // All of them take minutes on a software adapter; the last has everything that the first has not.
    for (const name of inject('everyCase') ? ['tiny-qwen3-moe', 'tiny-deepseek-v3'] : []) {
      await entries.filter({ has: page.getByText(name, { exact: true }) }).click();
      await waitForModel(page, name);
      await expectOslo(page);
      await openModelSheet(page, name);
    }
    await entries.last().click();
    await waitForModel(page, 'tiny-deepseek-v3-fp8');
    await openModelSheet(page, 'tiny-deepseek-v3-fp8');
    await page.getByLabel('Speculative decoding').selectOption('mtp');
    await page.getByText('Loading tiny-deepseek-v3-fp8').waitFor();
    await waitForLoading(page);
    expect(await notice(page).count()).toBe(0);
    await expectOslo(page);
    const figures = (await page.getByLabel('Figures').textContent()) ?? '';
    expect(figures).toMatch(/Tokens per pass(1\.[5-9]|2\.0)\d?Guesses kept\d+ %/);
    await visit.screenshot('chat-speculation');
  });

  test('had no errors but the missing file, and asked no other host', () => {
    expect(visit.errors.filter((error) => !error.includes('/nothing-here/'))).toEqual([]);
    const known = [pages.url, elsewhere.url].map((url) => new URL(url).host);
    expect([...visit.hosts].filter((host) => !known.includes(host))).toEqual([]);
  });
});

describe('when the GPU is not what one hopes', () => {
  test('a browser without WebGPU is told what to use', async () => {
    const { page, errors, screenshot } = await pages.open('about:blank');
    await page.addInitScript(() => {
      Object.defineProperty(navigator, 'gpu', { value: undefined });
    });
    await page.goto(pages.url);
    await notice(page).waitFor();
    expect(await notice(page).textContent()).toContain('WebGPU is not available here');
    expect(await page.getByRole('button', { name: 'Send' }).isDisabled()).toBe(true);
    await screenshot('chat-no-webgpu');
    expect(errors).toEqual([]);
    await page.close();
  });

  test('a name is looked up on Hugging Face, GPU or not', async () => {
    const { page } = await pages.open('about:blank');
    await page.addInitScript(() => {
      Object.defineProperty(navigator, 'gpu', { value: undefined });
    });
    const asked: string[] = [];
    await page.route('https://huggingface.co/**', (route) => {
      asked.push(route.request().url());
      const headers = { 'Access-Control-Allow-Origin': '*', 'Access-Control-Expose-Headers': 'X-Error-Code' };
      return route.fulfill({ status: 401, headers: { ...headers, 'X-Error-Code': 'RepoNotFound' } });
    });
    await page.goto(pages.url);
    await notice(page).waitFor();
    await loadUrl(page, 'No model', ' Qwen/Qwen9@v1 ');
    await notice(page)
      .filter({ hasText: 'Qwen/Qwen9@v1 on huggingface.co: there is no such repository' })
      .waitFor();
    expect(new Set(asked)).toEqual(new Set(['https://huggingface.co/api/models/Qwen/Qwen9/revision/v1']));
    await loadUrl(page, 'No model', 'Qwen/Qwen 9');
    await notice(page).filter({ hasText: '"Qwen/Qwen 9" is no name of a repository' }).waitFor();
    await page.close();
  });

  test('what came of a model by its name is kept, listed and deleted', async () => {
    const { page, screenshot } = await pages.open('about:blank');
    await page.addInitScript(() => {
      Object.defineProperty(navigator, 'gpu', { value: undefined });
    });
    const names = await readdir(MODEL_FOLDER);
    const read = async (name: string) => [name, await readFile(join(MODEL_FOLDER, name))] as const;
    const files = new Map(await Promise.all(names.map(read)));
    const headers = { 'Access-Control-Allow-Origin': '*', 'Access-Control-Expose-Headers': 'Content-Range' };
    const { hub, close } = await serveHub({ 'org/tiny': { files, revisions: ['main'] } }, { headers });
    await page.route('https://huggingface.co/**', async (route) => {
      const url = route.request().url().replace('https://huggingface.co', hub.url);
      await route.fulfill({ response: await route.fetch({ url }) });
    });
    await page.goto(pages.url);
    await notice(page).waitFor();
    await notice(page).getByRole('button', { name: 'Dismiss' }).click();
    await loadUrl(page, 'No model', 'org/tiny');
    await notice(page).filter({ hasText: 'WebGPU is not available here' }).waitFor();
    await openModelSheet(page, 'No model');
    const kept = page.getByRole('list', { name: 'Kept on this computer' });
    await kept.getByText('not the whole model yet').waitFor();
    expect(await kept.locator('strong').allTextContents()).toEqual(['org/tiny']);
    await screenshot('chat-kept-models');
    await kept.getByRole('button', { name: 'Delete org/tiny' }).click();
    await kept.waitFor({ state: 'hidden' });
    await page.close();
    await close();
  });

  test('a GPU that is too small is told what would fit, and loads that', async () => {
    const { page, screenshot, errors } = await pages.open('about:blank');
    await page.addInitScript(() => {
      // A GPU of its own with 69 MiB: whoever asks for more in all gets WebGPU's own error, about a texture that nothing can hold.
      Object.defineProperty(GPUAdapterInfo.prototype, 'isFallbackAdapter', { value: false });
      const { createBuffer } = GPUDevice.prototype;
      const { destroy } = GPUBuffer.prototype;
      const given = new Map<GPUBuffer, number>();
      GPUDevice.prototype.createBuffer = function (this: GPUDevice, descriptor) {
        const buffer = createBuffer.call(this, descriptor);
        const used = [...given.values()].reduce((a, b) => a + b, 0);
        if (used + descriptor.size <= 69 * 2 ** 20) {
          given.set(buffer, descriptor.size);
        } else {
          const { maxTextureDimension2D: side, maxTextureArrayLayers: layers } = this.limits;
          const usage = GPUTextureUsage.COPY_SRC;
          this.createTexture({ size: [side, side, layers], format: 'rgba32float', usage }).destroy();
        }
        return buffer;
      };
      GPUBuffer.prototype.destroy = function (this: GPUBuffer) {
        given.delete(this);
        return destroy.call(this);
      };
    });
    await page.goto(pages.url);
    await notice(page).waitFor();
    expect(await notice(page).textContent()).toMatch(
      /too small.*in any format: it needs 74\.\d MiB .* there are 6[89]\.\d MiB/,
    );
    await screenshot('chat-too-large');
    await notice(page)
      .getByRole('button', { name: /^Load it in 4 bits, [\d,]+ tokens/ })
      .click();
    await page.getByText(/^Needs [67][\d.]+ MB of GPU memory: [\d.]+ [kM]B for weights in 4 bits/).waitFor();
    await screenshot('chat-loading-4-bits');
    await waitForModel(page, 'tiny-qwen3');
    await openModelSheet(page, 'tiny-qwen3');
    expect(await page.getByRole('dialog', { name: 'Model' }).textContent()).toMatch(
      /Weights[\d.]+ [kM]B in 4 bits/,
    );
    expect(errors).toEqual([]);
    await page.close();
  });

  test('a mistyped debug flag is told, and the page works', async () => {
    const { page } = await pages.open('/?fuse=maybe');
    await notice(page).waitFor();
    expect(await notice(page).textContent()).toContain('fuse=maybe');
    await waitForModel(page, 'tiny-qwen3');
    await page.close();
  });

  test('a GPU that goes away in the middle of an answer is told, and the model can be loaded again', async () => {
    const { page, screenshot } = await pages.open();
    await waitForModel(page, 'tiny-qwen3');
    await thinkingPanel(await ask(page, 'What is 27 + 58?')).waitFor();
    const devtools = await pages.browser.newBrowserCDPSession();
    await devtools.send('Browser.crashGpuProcess');
    await notice(page).waitFor();
    expect(await notice(page).textContent()).toContain('The GPU went away');
    await screenshot('chat-gpu-lost');
    await notice(page).getByRole('button', { name: 'Load tiny-qwen3 again' }).click();
    await waitForModel(page, 'tiny-qwen3');
    expect(await finish(await ask(page, 'What is 27 + 58?'))).toContain('85');
    await page.close();
  });
});

interface StreamRecorder {
  recordedThoughts: string[];
}

/** Notes every text of the thinking panel while it is open and no answer has begun. */
function recordStream(page: Page): Promise<void> {
  return page.evaluate(() => {
    const seen: string[] = [];
    (globalThis as unknown as StreamRecorder).recordedThoughts = seen;
    const observer = new MutationObserver(() => {
      const text = document.querySelector('details[open] [aria-label="Thoughts"]')?.textContent ?? '';
      if (text !== '' && text !== seen.at(-1) && !document.querySelector('.prose')) seen.push(text);
    });
    observer.observe(document.body, { childList: true, subtree: true, characterData: true });
  });
}

function recordedThoughts(page: Page): Promise<string[]> {
  return page.evaluate(() => (globalThis as unknown as StreamRecorder).recordedThoughts);
}

/** Lets headers and the weights of the first two shards through, and holds the others back until `open` is called. */
async function holdWeights(page: Page): Promise<{ open(): Promise<void> }> {
  const pattern = /\/copy\/model-0000[2-9].*\.safetensors/;
  let release = () => {};
  const opened = new Promise<void>((resolve) => {
    release = resolve;
  });
  await page.route(pattern, async (route) => {
    const request = route.request();
    const isHeader = request.headers().range?.startsWith('bytes=0-');
    // Progress is told ten times a second: what came before this pause is told with what comes after it.
    if (request.url().includes('model-00002')) await setTimeout(1000);
    else if (!isHeader) await opened;
    await route.continue().catch(() => undefined); // the page may have given the request up
  });
  return {
    async open() {
      release();
      await page.unroute(pattern);
    },
  };
}

/** Drops a folder of this computer on the page, as the browser does it for a reader. */
async function drop(page: Page, folder: string): Promise<void> {
  const devtools = await page.context().newCDPSession(page);
  const data = { items: [], files: [folder], dragOperationsMask: 1 };
  for (const type of ['dragEnter', 'dragOver', 'drop'] as const) {
    await devtools.send('Input.dispatchDragEvent', { type, x: 300, y: 300, data });
  }
  await devtools.detach();
}
