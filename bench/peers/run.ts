/** @file `npm run bench -- --peers [--node]`: installs the peers where they are missing, and compares them with the library. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { comparePeers, type PeersOptions, type PeersResult } from './compare.ts';
import { startChromePlace, startNodePlace } from './place.ts';

const FOLDER = fileURLToPath(new URL('.', import.meta.url));

export function runPeers(
  options: PeersOptions,
  isInNode: boolean,
  onLine: (line: string) => void,
): Promise<PeersResult> {
  installPeers(onLine);
  return comparePeers(options, isInNode ? startNodePlace : startChromePlace, onLine);
}

/** They are no dependencies of the project: ten times its size, and nothing else needs them. */
function installPeers(onLine: (line: string) => void): void {
  if (existsSync(`${FOLDER}node_modules`)) return;
  onLine('installing the peers, as bench/peers/package.json names them');
  execFileSync('npm', ['ci', '--no-audit', '--no-fund', '--ignore-scripts'], {
    cwd: FOLDER,
    stdio: 'inherit',
    shell: process.platform === 'win32',
  });
}
