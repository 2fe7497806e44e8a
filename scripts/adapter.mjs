/**
 * @file Finds a WebGPU adapter for Node (Dawn): a real GPU or an installed software driver when there is one, else
 * the SwiftShader that Chromium brings along. Knows nothing of installing things.
 */
import { execFile } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PROBE = fileURLToPath(new URL('probe-adapter.mjs', import.meta.url));
const PROBE_TIMEOUT_MS = 30_000;

/**
 * @typedef {object} FoundAdapter
 * @property {string} description the driver's own words
 * @property {boolean} isSoftware
 * @property {{ VK_DRIVER_FILES?: string }} env what a process must have in its environment to get this adapter
 */

/**
 * The adapter of the machine's own drivers.
 * @returns {Promise<FoundAdapter | undefined>}
 */
export function findInstalledAdapter() {
  return probe({});
}

/**
 * The SwiftShader in a Chromium's folder.
 * @param {string | undefined} browser the browser's executable
 * @returns {Promise<FoundAdapter | undefined>}
 */
export async function findBrowserAdapter(browser) {
  const folders = browser ? [dirname(browser), dirname(realpathSync(browser)), '/usr/lib/chromium'] : [];
  const manifest = folders
    .map((folder) => join(folder, 'vk_swiftshader_icd.json'))
    .find((file) => existsSync(file));
  return manifest ? probe({ VK_DRIVER_FILES: manifest }) : undefined;
}

/**
 * @param {{ VK_DRIVER_FILES?: string }} env
 * @returns {Promise<FoundAdapter | undefined>}
 */
function probe(env) {
  return new Promise((resolve) => {
    const options = {
      env: { ...process.env, ...env },
      timeout: PROBE_TIMEOUT_MS,
      killSignal: /** @type {const} */ ('SIGKILL'),
    };
    execFile(process.execPath, [PROBE], options, (_error, stdout) => {
      const found = /^\{.*\}$/m.exec(stdout);
      resolve(found ? { ...JSON.parse(found[0]), env } : undefined);
    });
  });
}
