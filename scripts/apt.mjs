/**
 * @file Installs packages on Debian and Ubuntu as root. The machine's own apt sources are read, copied and extended
 * with backports for the length of a call; nothing of apt's configuration is changed.
 */
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const COMMAND_TIMEOUT_MS = 15 * 60_000;
const LOCK_TIMEOUT_MS = 5 * 60_000;
const SOURCES_FILE = '/etc/apt/sources.list';
const SOURCES_FOLDER = '/etc/apt/sources.list.d';

/** Dawn finds no adapter with older drivers. */
const OLDEST_MESA = 25;

/** apt-get failed; the message is its own output. */
export class AptError extends Error {}

/** Whether this process may install packages with apt-get. */
export function canUseApt() {
  return (
    process.getuid?.() === 0 && existsSync('/usr/bin/apt-get') && osRelease().VERSION_CODENAME !== undefined
  );
}

/**
 * Installs Debian's Chromium.
 * @returns {Promise<boolean>} false where the archive has none, or only Ubuntu's stub for a snap
 * @throws {AptError}
 */
export async function installChromium() {
  await aptGet(['update']);
  const versions = await packageVersions('chromium', []);
  if (!versions.some(({ version }) => !version.includes('snap'))) return false;
  await aptGet(['install', 'chromium']);
  return true;
}

/**
 * Installs Mesa's software Vulkan driver, from backports where the plain archive is too old.
 * @returns {Promise<boolean>} false where no archive of this release has a new enough one
 * @throws {AptError}
 */
export async function installVulkanDriver() {
  await aptGet(['update']);
  if (await installMesa([])) return true;
  const codename = osRelease().VERSION_CODENAME ?? '';
  for (const backports of backportsSources(readSources(), codename)) {
    const folder = mkdtempSync(join(tmpdir(), 'apt-sources-'));
    try {
      if (existsSync(SOURCES_FOLDER)) cpSync(SOURCES_FOLDER, folder, { recursive: true, dereference: true });
      writeFileSync(join(folder, backports.name), backports.text);
      const options = ['-o', `Dir::Etc::SourceParts=${folder}`];
      await aptGet([...options, 'update']);
      if (await installMesa(options)) return true;
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
  return false;
}

/** @param {string[]} options */
async function installMesa(options) {
  const name = 'mesa-vulkan-drivers';
  const found = (await packageVersions(name, options)).find(({ major }) => major >= OLDEST_MESA);
  if (found) await aptGet([...options, 'install', '--target-release', found.suite, name]);
  return found !== undefined;
}

/**
 * The versions of a package that apt knows, newest first.
 * @param {string} name
 * @param {string[]} options
 */
async function packageVersions(name, options) {
  const { output } = await run('apt-cache', [...options, 'madison', name]);
  return parseMadison(output);
}

/**
 * @param {string} text rows like `name | 25.0.7-2~bpo12+1 | http://host/debian bookworm-backports/main amd64 Packages`
 */
export function parseMadison(text) {
  return text.split('\n').flatMap((line) => {
    const match = /^\s*\S+ \| (\S+) \| \S+ ([^\s/]+)\/\S+ \S+ Packages$/.exec(line);
    if (!match) return [];
    const [, version = '', suite = ''] = match;
    return [{ version, suite, major: Number.parseInt(version.replace(/^\d+:/, ''), 10) }];
  });
}

/**
 * @typedef {object} SourcesFile
 * @property {string} name file name; its ending tells the format
 * @property {string} text
 */

/**
 * The backports archives that belong to the given apt sources: each entry for the release itself, from the same
 * mirror and with the same options, but for the suite `<codename>-backports`. The distribution's own archive comes
 * first, since others also publish under the release's name but have no backports.
 * @param {SourcesFile[]} files
 * @param {string} codename
 * @returns {SourcesFile[]}
 */
export function backportsSources(files, codename) {
  const entries = files.flatMap(({ name, text }) =>
    name.endsWith('.sources') ? deb822Backports(text, codename) : oneLineBackports(text, codename),
  );
  const isOwnArchive = (/** @type {SourcesFile} */ { text }) => /\/(debian|ubuntu)\b/i.test(text);
  return [...new Map(entries.map((entry) => [entry.text, entry])).values()].sort(
    (a, b) => Number(isOwnArchive(b)) - Number(isOwnArchive(a)),
  );
}

/**
 * @param {string} text a `.list` file: `deb [options] uri suite component...`
 * @param {string} codename
 */
function oneLineBackports(text, codename) {
  return text.split('\n').flatMap((line) => {
    const match = /^\s*deb\s+(\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+([^#]+)/.exec(line);
    const [, options = '', uri, suite, components = ''] = match ?? [];
    if (suite !== codename || !components.split(/\s+/).includes('main')) return [];
    return [{ name: 'backports.list', text: `deb ${options}${uri} ${codename}-backports main\n` }];
  });
}

/**
 * @param {string} text a `.sources` file: paragraphs of `Field: value` lines, a value may go on in indented lines
 * @param {string} codename
 */
function deb822Backports(text, codename) {
  const withoutComments = text.replace(/^#.*\n?/gm, '');
  return withoutComments.split(/\n\s*\n/).flatMap((paragraph) => {
    /** @type {Map<string, string>} */
    const fields = new Map();
    for (const [, field = '', value = ''] of paragraph.matchAll(/^([^\s:]+):(.*(?:\n[ \t].*)*)/gm)) {
      fields.set(field.toLowerCase(), value);
    }
    const words = (/** @type {string} */ field) => (fields.get(field) ?? '').split(/\s+/);
    const isUsed = !/^\s*(no|false|0|off|disable|without)\s*$/i.test(fields.get('enabled') ?? 'yes');
    const isRelease = words('suites').includes(codename) && words('components').includes('main');
    if (!isUsed || !isRelease || !words('types').includes('deb')) return [];
    fields.set('types', ' deb').set('suites', ` ${codename}-backports`).set('components', ' main');
    const lines = [...fields].map(([field, value]) => `${field}:${value}\n`);
    return [{ name: 'backports.sources', text: lines.join('') }];
  });
}

function readSources() {
  const parts = existsSync(SOURCES_FOLDER)
    ? readdirSync(SOURCES_FOLDER).map((name) => join(SOURCES_FOLDER, name))
    : [];
  return [SOURCES_FILE, ...parts]
    .filter((path) => /\.(list|sources)$/.test(path) && existsSync(path))
    .map((path) => ({ name: basename(path), text: readFileSync(path, 'utf8') }));
}

/** @returns {Record<string, string | undefined>} */
function osRelease() {
  const path = '/etc/os-release';
  if (!existsSync(path)) return {};
  const rows = readFileSync(path, 'utf8').matchAll(/^([A-Z_]+)="?([^"\n]*)"?$/gm);
  return Object.fromEntries([...rows].map(([, key, value]) => [key, value]));
}

/**
 * Runs apt-get without questions, waiting for another apt to finish. A failed `update` is no failure here: one dead
 * third-party source must not stop an install that does not need it.
 * @param {string[]} args
 */
async function aptGet(args) {
  const common = [
    '-y',
    '-q',
    '--no-install-recommends',
    '-o',
    'Acquire::Retries=3',
    '-o',
    'Acquire::http::Timeout=30',
  ];
  const deadline = Date.now() + LOCK_TIMEOUT_MS;
  for (;;) {
    const { hasFailed, output } = await run('apt-get', [...common, ...args]);
    if (!hasFailed) return;
    const isLocked = /could not get lock|unable to (acquire|lock)/i.test(output);
    if (isLocked && Date.now() < deadline) {
      await sleep(3_000);
      continue;
    }
    if (args.includes('update') && !isLocked) return;
    throw new AptError(`apt-get ${args.join(' ')} failed:\n${output.trim()}`);
  }
}

/**
 * @param {string} command
 * @param {string[]} args
 * @returns {Promise<{ hasFailed: boolean, output: string }>}
 */
function run(command, args) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' };
  return new Promise((resolve) => {
    const options = { env, timeout: COMMAND_TIMEOUT_MS, maxBuffer: 64 * 1024 * 1024 };
    const child = execFile(command, args, options, (error, stdout, stderr) => {
      resolve({
        hasFailed: error !== null,
        output: `${stdout}${stderr}${error?.killed ? '\n(timed out)' : ''}`,
      });
    });
    child.stdin?.end();
  });
}
