/**
 * @file Finds a Chromium-family browser on this machine and knows how to launch it for tests.
 * Owns the list of usual places and the launch flags; knows nothing of Vitest or of installing things.
 */
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, join } from 'node:path';

const LINUX_NAMES = [
  'google-chrome-stable',
  'google-chrome',
  'chromium',
  'chromium-browser',
  'microsoft-edge-stable',
  'microsoft-edge',
];
const LINUX_FOLDERS = [
  '/usr/bin',
  '/usr/local/bin',
  '/opt/google/chrome',
  '/opt/microsoft/msedge',
  '/snap/bin',
];
const MAC_APPS = ['Google Chrome', 'Chromium', 'Microsoft Edge'];
const WINDOWS_PROGRAMS = [
  'Google\\Chrome\\Application\\chrome.exe',
  'Chromium\\Application\\chrome.exe',
  'Microsoft\\Edge\\Application\\msedge.exe',
];

/** The machine lacks something, or was told wrong where it is; the message is the one line to show. */
export class SetupError extends Error {}

/**
 * Flags for automated runs. The browser itself prefers a real GPU and falls back to its own SwiftShader;
 * `Vulkan` is how headless Linux reaches a real GPU, a container's root cannot use the sandbox, and the watchdog would
 * take a long dispatch on a software adapter for a hang.
 */
export const browserArgs = [
  '--no-sandbox',
  '--enable-unsafe-webgpu',
  '--enable-unsafe-swiftshader',
  '--enable-features=Vulkan',
  '--disable-gpu-watchdog',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/**
 * The browser's executable, or undefined where none is installed.
 * @param {NodeJS.ProcessEnv} env
 * @param {NodeJS.Platform} platform
 * @returns {string | undefined}
 * @throws {SetupError} when CHROME_PATH is set but names no executable file, since a silent second choice would surprise.
 */
export function findBrowser(env = process.env, platform = process.platform) {
  if (env.CHROME_PATH) {
    if (isExecutable(env.CHROME_PATH)) return env.CHROME_PATH;
    throw new SetupError(
      `CHROME_PATH is ${env.CHROME_PATH}, which is no executable file; point it at Chrome or unset it`,
    );
  }
  const installed = candidates(env, platform).find((path) => isExecutable(path) && !isSnapStub(path));
  return installed ?? findPlaywrightBrowser();
}

/**
 * @param {NodeJS.ProcessEnv} env
 * @param {NodeJS.Platform} platform
 */
function candidates(env, platform) {
  if (platform === 'darwin') {
    const folders = [join(env.HOME ?? '', 'Applications'), '/Applications'];
    return folders.flatMap((folder) => MAC_APPS.map((app) => `${folder}/${app}.app/Contents/MacOS/${app}`));
  }
  if (platform === 'win32') {
    const folders = [env.PROGRAMFILES, env['PROGRAMFILES(X86)'], env.LOCALAPPDATA].filter(
      (x) => x !== undefined,
    );
    return folders.flatMap((folder) => WINDOWS_PROGRAMS.map((program) => join(folder, program)));
  }
  const folders = [...new Set([...(env.PATH ?? '').split(delimiter).filter(Boolean), ...LINUX_FOLDERS])];
  return LINUX_NAMES.flatMap((name) => folders.map((folder) => join(folder, name)));
}

/** What `npx playwright-core install chromium` downloads. Loaded late: most machines have a browser, and it is slow. */
function findPlaywrightBrowser() {
  /** @type {typeof import('playwright-core')} */
  const { chromium } = createRequire(import.meta.url)('playwright-core');
  const path = chromium.executablePath();
  return isExecutable(path) ? path : undefined;
}

/** @param {string} path */
function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/**
 * Ubuntu's `chromium-browser` package is a script that only asks for the snap; running it hangs or fails.
 * @param {string} path
 */
function isSnapStub(path) {
  const { size } = statSync(path);
  return (
    size < 16_384 && /snap (install|run) chromium|\/snap\/bin\/chromium/.test(readFileSync(path, 'utf8'))
  );
}
