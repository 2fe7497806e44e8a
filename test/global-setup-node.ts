/** @file Before the GPU tests in Node: makes sure Dawn will find an adapter, falling back to Chromium's SwiftShader. */
import { findBrowserAdapter, findInstalledAdapter } from '../scripts/adapter.mjs';
import { findBrowser } from '../scripts/browser.mjs';

export async function setup(): Promise<void> {
  const adapter = (await findInstalledAdapter()) ?? (await findBrowserAdapter(findBrowser()));
  if (!adapter) throw new Error('no WebGPU adapter for Node; `npm run setup` installs one or says how');
  Object.assign(process.env, adapter.env);
}
