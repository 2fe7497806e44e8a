/** @file Runs a Node program as a child of this one: same terminal, signals and exit code, without Dawn's noise. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';

/** Dawn writes these to stderr for every software adapter; no option turns them off. */
const NOISE = /^Warning: max\w+ artificially reduced .*\n?/gm;

/**
 * @param {string[]} args for `node`
 * @param {NodeJS.ProcessEnv} env added to this process's own
 * @returns {Promise<number>} its exit code; 128 + n when signal n ended it
 */
export function runNode(args, env = {}) {
  const child = spawn(process.execPath, args, {
    env: { ...process.env, ...env },
    stdio: ['inherit', 'inherit', 'pipe'],
  });
  child.stderr.setEncoding('utf8').on('data', (text) => process.stderr.write(text.replace(NOISE, '')));
  // A terminal sends Ctrl-C to the child as well; it decides what that means. A signal from `kill` reaches only us.
  process.on('SIGINT', () => process.stdin.isTTY || child.kill('SIGINT'));
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (signal) console.error(`ended by ${signal}: node ${args.join(' ')}`);
      resolve(code ?? 128 + constants.signals[signal ?? 'SIGTERM']);
    });
  });
}
