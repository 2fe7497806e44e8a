/**
 * @file `npm run setup`: finds a browser and a WebGPU adapter for Node, one printed line each. What is missing it
 * installs where it can (Debian and Ubuntu as root), elsewhere it says in one line what to install.
 */
import { fileURLToPath } from 'node:url';
import { findBrowserAdapter, findInstalledAdapter } from './adapter.mjs';
import { AptError, canUseApt, installChromium, installVulkanDriver } from './apt.mjs';
import { findBrowser, SetupError } from './browser.mjs';

const INSTALL_BROWSER =
  'install Google Chrome, or run `npx playwright-core install --with-deps chromium`, or set CHROME_PATH';
const INSTALL_ADAPTER =
  process.platform === 'linux'
    ? 'install a Vulkan driver: mesa-vulkan-drivers 25 or newer (Debian: from backports), or vulkan-swrast (Arch)'
    : 'update the graphics driver, or use a machine with a GPU';

/**
 * For tests that drive a browser.
 * @returns {Promise<string>} the executable
 * @throws {SetupError}
 */
export async function setUpBrowser() {
  const browser = findBrowser() ?? (await install('chromium', installChromium, findBrowser));
  if (!browser) throw new SetupError(`no Chrome, Chromium or Edge found: ${INSTALL_BROWSER}`);
  print('browser', browser);
  return browser;
}

/**
 * For tests and commands that use WebGPU in Node.
 * @returns {Promise<import('./adapter.mjs').FoundAdapter>}
 * @throws {SetupError}
 */
export async function setUpAdapter() {
  const adapter =
    (await findInstalledAdapter()) ??
    (await install('mesa-vulkan-drivers', installVulkanDriver, findInstalledAdapter)) ??
    (await findBrowserAdapter(findBrowser()));
  if (!adapter) throw new SetupError(`no WebGPU adapter for Node: ${INSTALL_ADAPTER}`);
  print('adapter', adapter.isSoftware ? `${adapter.description} (software)` : adapter.description);
  return adapter;
}

/** For `npm start`: the page is opened by whatever browser the user likes, so nothing is installed. */
export function reportBrowser() {
  const browser = findBrowser();
  print('browser', browser ?? 'none found here; any browser with WebGPU can open the address below');
}

/**
 * @template T
 * @param {string} what name of the package
 * @param {() => Promise<boolean>} installer
 * @param {() => T} find
 * @returns {Promise<Awaited<T> | undefined>} what was looked for, or undefined when it could not be installed
 */
async function install(what, installer, find) {
  if (!canUseApt()) return undefined;
  print('install', `${what} with apt-get, this can take some minutes`);
  try {
    if (!(await installer())) print('install', `this release of the system has no usable ${what}`);
  } catch (error) {
    if (!(error instanceof AptError)) throw error;
    console.error(error.message);
  }
  return await find();
}

/**
 * @param {string} what
 * @param {string} found
 */
function print(what, found) {
  console.log(`${what.padEnd(9)}${found}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    if (process.argv[2] === 'start') {
      reportBrowser();
    } else {
      await setUpBrowser();
      await setUpAdapter();
    }
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
