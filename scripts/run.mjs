/**
 * @file `node scripts/run.mjs [--gpu] FILE [args]`: runs a TypeScript file of the project in Node, with `?raw`
 * imports as everywhere else. The file does its work in top-level await and may set `process.exitCode`.
 * `--gpu` makes sure that Dawn finds an adapter and hides what it prints about software ones.
 */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const args = process.argv.slice(2);
process.exitCode = await (args[0] === '--gpu' ? runWithAdapter(args.slice(1)) : runHere(args));
await new Promise((written) => process.stdout.write('', written));
// Dawn keeps the process alive as long as its instance lives.
process.exit();

/** @param {string[]} args */
async function runWithAdapter(args) {
  const { findBrowserAdapter, findInstalledAdapter } = await import('./adapter.mjs');
  const { findBrowser } = await import('./browser.mjs');
  const { runNode } = await import('./node-process.mjs');
  const adapter = (await findInstalledAdapter()) ?? (await findBrowserAdapter(findBrowser()));
  return runNode([fileURLToPath(import.meta.url), ...args], adapter?.env);
}

/** @param {string[]} args */
async function runHere([file = '', ...args]) {
  const { runnerImport } = await import('vite');
  const path = resolve(file);
  process.argv = [process.execPath, path, ...args];
  try {
    await runnerImport(path, { root: fileURLToPath(new URL('..', import.meta.url)), logLevel: 'warn' });
    return process.exitCode ?? 0;
  } catch (error) {
    console.error(error);
    return 1;
  }
}
