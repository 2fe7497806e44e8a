/**
 * @file `npm test` and `npm run goldens`: sets up what the chosen Vitest projects need, then runs Vitest with the
 * arguments given. A first argument `--default-project=NAME` chooses a project where no `--project` follows;
 * `--every-case` runs all recorded cases and, in Chrome, the kernel tests that a plain run leaves to Node.
 * Random cases are more than `npm run check` tries.
 */
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { SetupError } from './browser.mjs';
import { runNode } from './node-process.mjs';
import { setUpAdapter, setUpBrowser } from './setup.mjs';

const VITEST = fileURLToPath(new URL('../node_modules/vitest/vitest.mjs', import.meta.url));

const MINUTES = fileURLToPath(new URL('minutes-reporter.mjs', import.meta.url));

const args = process.argv.slice(2);
const everyCase = args.indexOf('--every-case');
if (everyCase >= 0) {
  args.splice(everyCase, 1);
  process.env.EVERY_CASE = '1';
}
process.env.MANY_CASES = '1';
const fallback = args[0]?.startsWith('--default-project=') ? args.shift()?.split('=')[1] : undefined;
if (fallback && projectsIn(args).length === 0) args.push('--project', fallback);

try {
  const projects = projectsIn(args);
  const needs = (/** @type {string[]} */ ...names) =>
    projects.length === 0 || projects.some((name) => names.includes(name));
  // The browser first: its folder holds the driver of last resort for Node.
  if (needs('chrome', 'page')) await setUpBrowser();
  if (needs('node')) await setUpAdapter();
  // Reporters that are named replace the default one, which a plain run keeps.
  const reporters = args.some((arg) => arg.startsWith('--reporter')) ? [] : ['--reporter=default'];
  process.exitCode = await runNode([VITEST, 'run', ...args, ...reporters, `--reporter=${MINUTES}`]);
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}

/** @param {string[]} args */
function projectsIn(args) {
  const options = { project: { type: /** @type {const} */ ('string'), multiple: true } };
  const { project = [] } = parseArgs({ args, options, strict: false }).values;
  return /** @type {string[]} */ (project);
}
