/**
 * @file `npm run check`: types and lint beside the tests that need no GPU, since none of them keeps every core busy all the time.
 * Prints the tests as they run, then what the others found; fails when any of them failed.
 */
import { spawn } from 'node:child_process';

/**
 * @param {string} command one of the project's tools, found through the path that npm sets
 * @param {'inherit' | 'pipe'} output
 */
function start(command, output) {
  const child = spawn(command, { shell: true, stdio: ['ignore', output, output] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (part) => {
      text += part;
    });
  }
  return new Promise((resolve) => {
    child.on('close', (code) => resolve({ command, text, hasFailed: code !== 0 }));
  });
}

const [tests, ...others] = await Promise.all([
  start('vitest run --project pure', 'inherit'),
  // More checkers than two check the same types again and again.
  start('tsc --noEmit --checkers 2', 'pipe'),
  start('biome check', 'pipe'),
]);
for (const { command, text } of others) console.log(`${command}\n${text}`);
const failed = [tests, ...others].filter(({ hasFailed }) => hasFailed);
for (const { command } of failed) console.error(`failed: ${command}`);
if (failed.length > 0) process.exitCode = 1;
