/**
 * Random scripts of faults around a store in a folder: of the server, the way to it, the disk, and the process. Each session ends
 * in a complete checkpoint with exactly the right bytes, in a typed error, or in the end of the process; and when the faults are
 * gone the same store completes. No session ever gets a byte that is not of the file.
 */

import { spawn } from 'node:child_process';
import { appendFile, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { build } from 'vite';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ShaderloomError } from '../../src/errors.ts';
import type { Source } from '../../src/sources/source.ts';
import { openFolderStore } from '../../src/store/folder-store.ts';
import { seededRandom } from '../seeded-random.ts';
import { type FileServer, serve } from '../sources/file-server.ts';
import { serveHub } from '../sources/hub-server.ts';
import { checkpointFiles, type Files, loadFiles, WrongBytesError } from './checkpoint-files.ts';
import { faultsOf, pick } from './fault-behaviour.ts';

const isEvery = process.env.EVERY_CASE === '1';
const NUM_SCRIPTS = isEvery ? 200 : 24;
const NUM_AT_ONCE = 4;
/** Every so many scripts, a process of its own is killed in the middle; the others restart in this process. */
const KILL_EVERY = 8;
const MAX_SESSIONS = 4;
const CHUNK_BYTES = 16 * 1024;
const NAME = 'org/model';
const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));

let temporary: string;
let child: string;
beforeAll(async () => {
  temporary = await mkdtemp(join(tmpdir(), 'shaderloom-faults-'));
  await build({
    configFile: false,
    logLevel: 'error',
    build: {
      ssr: join(import.meta.dirname, 'loading-child.ts'),
      outDir: temporary,
      rolldownOptions: { output: { entryFileNames: 'child.mjs' } },
    },
  });
  child = join(temporary, 'child.mjs');
}, 60_000);
afterAll(() => rm(temporary, { recursive: true, force: true }));

interface Server {
  open(maxBytes: number | undefined): Source;
  endpoint: string;
  sentBytes(): number;
  close(): Promise<void>;
}

interface Script {
  server: Server;
  folder: string;
  random: () => number;
  /** What each file may be, and what it is now. */
  versions: Files[];
  current(): Files;
  endFaults(): void;
  isHub: boolean;
}

async function startScript(random: () => number, isHub: boolean, isSlow: boolean): Promise<Script> {
  const folder = await mkdtemp(join(temporary, 'store-'));
  const first = checkpointFiles(random);
  const second: Files = new Map([...first].map(([name, bytes]) => [name, bytes.map((byte) => byte ^ 0x55)]));
  let current = first;
  let isOver = false;
  const faults = faultsOf(random, () => isOver, isHub);
  if (isSlow) faults.delay = () => (isOver ? 0 : 3);
  const open = (from: string, endpoint: string | undefined, maxBytes: number | undefined) => {
    const reading = { retryDelay: 1, pieceBytes: pick(random, [20_000, 40_000, 1_000_000]) };
    const store = openFolderStore(folder, { maxBytes }, { chunkBytes: CHUNK_BYTES, reading });
    return store.source(from, { hub: { endpoint } });
  };
  const script = { folder, random, isHub, versions: [first, second], current: () => current };
  const endFaults = () => {
    isOver = true;
  };
  if (isHub) {
    const hub = await serveHub(
      { [NAME]: { files: first, revisions: ['main'] } },
      { hub: faults, cdn: faults },
    );
    const endpoint = hub.hub.url;
    const server = {
      endpoint,
      open: (maxBytes: number | undefined) => open(NAME, endpoint, maxBytes),
      sentBytes: () => hub.hub.sentBytes() + hub.cdn.sentBytes(),
      close: hub.close,
    };
    return { ...script, server, endFaults };
  }
  // A folder on the web has no hashes: its ETags tell that a file changes, here at a random moment.
  const changesAt = random() < 0.4 ? Math.floor(random() * 40) : Number.POSITIVE_INFINITY;
  const plain: FileServer = await serve(new Map(), {
    ...faults,
    find({ name, index }) {
      if (index >= changesAt && !isOver) current = second;
      return current.get(name);
    },
    headers: () => ({ ETag: `"${current === first ? 1 : 2}"` }),
  });
  const { url: endpoint, sentBytes, close } = plain;
  const server = {
    endpoint,
    sentBytes,
    close,
    open: (maxBytes: number | undefined) => open(endpoint, undefined, maxBytes),
  };
  return { ...script, server, endFaults };
}

/** What a bad disk, or a crash of the machine, does to the store between two sessions. */
async function damageDisk({ folder, random }: Script): Promise<void> {
  const kind = pick(random, ['chunks', 'chunks', 'files', 'models', 'refs', 'used']);
  const names = await readdir(join(folder, kind)).catch(() => []);
  if (names.length === 0) return;
  const path = join(folder, kind, pick(random, names));
  const bytes = await readFile(path);
  const at = Math.floor(random() * bytes.length);
  const how = pick(random, ['cut', 'flip', 'grow', 'remove']);
  if (how === 'cut') await truncate(path, at);
  else if (how === 'grow') await appendFile(path, 'torn');
  else if (how === 'remove') await rm(path);
  else {
    bytes[at]! ^= 1 + Math.floor(random() * 255);
    await writeFile(path, bytes);
  }
}

async function runAndKill({ server, folder, random, current }: Script): Promise<string> {
  const sizes = [...current()].map(([name, { length }]) => `${name}=${length}`);
  const args = [child, folder, NAME, server.endpoint, String(CHUNK_BYTES), ...sizes];
  const process_ = spawn(process.execPath, args, { stdio: 'ignore' });
  const ended = new Promise<'killed' | 'ended before the kill'>((resolve) =>
    process_.once('exit', (_, signal) => resolve(signal ? 'killed' : 'ended before the kill')),
  );
  const limit = server.sentBytes() + random() * 400_000;
  while (process_.exitCode === null && server.sentBytes() < limit) await setTimeout(1);
  process_.kill('SIGKILL');
  return ended;
}

async function runSession(script: Script): Promise<string> {
  const { random, server, versions } = script;
  const total = [...versions[0]!.values()].reduce((sum, { length }) => sum + length, 0);
  const maxBytes = random() < 0.2 ? Math.floor(random() * total * 1.1) + 1 : undefined;
  const controller = new AbortController();
  const stopped = new Error('stopped');
  const limit = random() < 0.4 ? server.sentBytes() + random() * 400_000 : Number.POSITIVE_INFINITY;
  const watch = setInterval(() => server.sentBytes() > limit && controller.abort(stopped), 1);
  try {
    await loadFiles(server.open(maxBytes), versions, { signal: controller.signal });
    return 'complete';
  } catch (error) {
    if (error === stopped) return 'stopped';
    if (error instanceof ShaderloomError) return error.name;
    // The two versions of a folder's file have different headers, which the reader of a header may see change.
    if (error instanceof WrongBytesError && /another header/.test(error.message) && !script.isHub)
      return 'changed';
    throw error;
  } finally {
    clearInterval(watch);
  }
}

async function runScript(seed: number, isKilled: boolean): Promise<string[]> {
  const random = seededRandom(seed);
  const script = await startScript(random, isKilled || random() < 0.75, isKilled);
  try {
    const endings: string[] = [];
    for (let i = 1 + Math.floor(random() * MAX_SESSIONS); i > 0; i--) {
      endings.push(isKilled ? await runAndKill(script) : await runSession(script));
      if (random() < 0.4) {
        await damageDisk(script);
        endings.push('disk damaged');
      }
    }
    script.endFaults();
    const wanted = script.current();
    // Which may still find that a file changed since it was read last, and tell so once.
    await loadFiles(script.server.open(undefined), script.versions).catch((error) => {
      if (!(error instanceof ShaderloomError)) throw error;
      endings.push(`${error.name} once more`);
    });
    await loadFiles(script.server.open(undefined), [wanted]);
    return endings;
  } finally {
    await script.server.close();
    await rm(script.folder, { recursive: true, force: true });
  }
}

test(`${NUM_SCRIPTS} random scripts of faults end in verified files or typed errors, and in a store that completes`, async () => {
  const endings: Record<string, number> = {};
  const scripts = Array.from({ length: NUM_SCRIPTS }, (_, i) => i).values();
  const worker = async () => {
    for (const i of scripts) {
      const hang = new AbortController();
      const limit = setTimeout(120_000, undefined, { signal: hang.signal }).then(
        () => Promise.reject(new Error('hangs')),
        () => new Promise<never>(() => undefined),
      );
      try {
        const found = await Promise.race([runScript(seed + i, (seed + i) % KILL_EVERY === 0), limit]);
        for (const ending of found) endings[ending] = (endings[ending] ?? 0) + 1;
      } catch (error) {
        throw new Error(
          `Script ${seed + i} (SEED=${seed + i} repeats it first): ${(error as Error).message}`,
          {
            cause: error,
          },
        );
      } finally {
        hang.abort();
      }
    }
  };
  await Promise.all(Array.from({ length: NUM_AT_ONCE }, worker));
  const counts = Object.entries(endings).sort(([a], [b]) => a.localeCompare(b));
  console.info(
    `${NUM_SCRIPTS} scripts of faults on a folder store from seed ${seed}, all complete in the end; their sessions: ` +
      counts.map(([ending, count]) => `${count} ${ending}`).join(', '),
  );
  expect(endings.complete).toBeGreaterThan(NUM_SCRIPTS / 8);
}, 600_000);
