import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findBrowser } from '../../scripts/browser.mjs';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'browser-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function program(path: string, text: string, mode = 0o755): Promise<string> {
  await mkdir(join(folder, path, '..'), { recursive: true });
  await writeFile(join(folder, path), text);
  await chmod(join(folder, path), mode);
  return join(folder, path);
}

test('CHROME_PATH is used before anything else', async () => {
  const chosen = await program('my-chrome', '#!/bin/sh\n');
  await program('google-chrome', '#!/bin/sh\n');
  expect(findBrowser({ CHROME_PATH: chosen, PATH: folder }, 'linux')).toBe(chosen);
});

test('a CHROME_PATH that cannot be run is an error that names it', async () => {
  const file = await program('notes.txt', 'hello', 0o644);
  expect(() => findBrowser({ CHROME_PATH: file }, 'linux')).toThrow(file);
  expect(() => findBrowser({ CHROME_PATH: folder }, 'linux')).toThrow(folder);
});

test('an installed browser is found on the PATH', async () => {
  const chrome = await program('google-chrome-stable', '#!/bin/sh\n');
  expect(findBrowser({ PATH: `/nowhere:${folder}` }, 'linux')).toBe(chrome);
});

test("Ubuntu's stub that only asks for a snap is not taken for a browser", async () => {
  const stub = await program('chromium-browser', '#!/bin/sh\necho "snap install chromium" >&2\nexit 1\n');
  expect(findBrowser({ PATH: folder }, 'linux')).not.toBe(stub);
});

test('an installed browser is found in the applications of a Mac user', async () => {
  const path = await program('Applications/Google Chrome.app/Contents/MacOS/Google Chrome', '#!/bin/sh\n');
  expect(findBrowser({ HOME: folder }, 'darwin')).toBe(path);
});
