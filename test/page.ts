/**
 * @file What a page test needs: the project's own dev server, a real browser, and pages whose errors are collected.
 * Screenshots go to `test/screenshots` (not in git) and their paths are printed.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { createServer, type ViteDevServer } from 'vite';
import { browserArgs, findBrowser } from '../scripts/browser.mjs';

const ROOT = join(import.meta.dirname, '..');
const TIMEOUT = 120_000;
const SCREENSHOTS = join(ROOT, 'test/screenshots');

export interface OpenPage {
  page: Page;
  /** Everything that went wrong in the page so far: uncaught errors, `console.error`, failed requests. */
  errors: string[];
  /** Every host (`name:port`) that the page asked for something. */
  hosts: Set<string>;
  /** Saves what the page shows now, prints the path and returns it. */
  screenshot(name: string): Promise<string>;
}

export interface PageTest {
  /** Address of the dev server, ending with a slash. */
  url: string;
  browser: Browser;
  /** Opens a path of the dev server in a fresh context (own storage). */
  open(path?: string, options?: BrowserContextOptions): Promise<OpenPage>;
  close(): Promise<void>;
}

/** Starts the dev server and the browser. Call it in `beforeAll`, and `close` in `afterAll`. */
export async function startPageTest(): Promise<PageTest> {
  const executablePath = findBrowser();
  if (!executablePath) throw new Error('no browser for page tests; `npm run setup` installs one or says how');
  const server = await startServer();
  const browser = await launch(executablePath);
  const url = server.resolvedUrls!.local[0]!;
  return {
    url,
    browser,
    async open(path = '/', options = {}) {
      const page = await browser.newPage(options);
      const errors = collectErrors(page);
      const hosts = collectHosts(page);
      await page.goto(new URL(path, url).href);
      return { page, errors, hosts, screenshot: (name) => saveScreenshot(page, name) };
    },
    async close() {
      await browser.close();
      await server.close();
    },
  };
}

/** A browser whose pages are waited for as long as a busy machine with a software adapter may take. */
async function launch(executablePath: string): Promise<Browser> {
  const browser = await chromium.launch({ executablePath, args: browserArgs });
  browser.on('context', (context) => context.setDefaultTimeout(TIMEOUT));
  return browser;
}

/** The server of `npm start` on a free port; it does not watch files, so that an edit cannot reload a page under test. */
async function startServer(): Promise<ViteDevServer> {
  const server = await createServer({
    root: ROOT,
    logLevel: 'warn',
    server: { host: 'localhost', port: 0, watch: null, hmr: false },
  });
  return server.listen();
}

function collectErrors(page: Page): string[] {
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error.stack ?? error)));
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(`${message.text()} (${message.location().url})`);
  });
  return errors;
}

function collectHosts(page: Page): Set<string> {
  const hosts = new Set<string>();
  page.on('request', (request) => {
    const { protocol, host } = new URL(request.url());
    if (/^(https?|wss?):$/.test(protocol)) hosts.add(host);
  });
  return hosts;
}

async function saveScreenshot(page: Page, name: string): Promise<string> {
  await mkdir(SCREENSHOTS, { recursive: true });
  const path = join(SCREENSHOTS, `${name}.png`);
  await page.screenshot({ path });
  console.log(`screenshot: ${path}`);
  return path;
}
