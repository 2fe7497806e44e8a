/**
 * @file `npm run check:package`: packs the library as npm would publish it, checks the package with publint and
 * arethetypeswrong, then uses it as a stranger would: installed from the tarball, type-checked, bundled by a bare
 * Vite and imported by Node. Run `npm run build` before.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** What an app downloads at first for the library and its dependencies: bundled, minified, compressed with gzip. */
const MAX_BUNDLE_BYTES = 130 * 1024;

const FILES = {
  'package.json': JSON.stringify({ name: 'consumer', private: true, type: 'module' }),
  'index.html': '<!doctype html><script type="module" src="./app.ts"></script>',
  'app.ts': `import { loadModel, type Model, UnsupportedConfigError } from 'shaderloom';

export async function ask(url: string, question: string): Promise<string> {
  const model: Model = await loadModel(url, { contextLength: 1024 });
  const stream = model.chat([{ role: 'user', content: question }], { temperature: 0 });
  for await (const { content } of stream) document.body.append(content ?? '');
  return (await stream.result).message.content;
}
ask('/model', 'Hello').catch((error) => console.log(error instanceof UnsupportedConfigError));
`,
  'keep.html': '<!doctype html><script type="module" src="./keep.ts"></script>',
  'keep.ts': `import { loadModel, openStore, type Store, StoreFullError } from 'shaderloom';

const store: Store = await openStore();
loadModel('org/name', { store }).catch((error) => console.log(error instanceof StoreFullError && error.neededBytes));
`,
  'engine.html': '<!doctype html><script type="module" src="./engine.ts"></script>',
  'engine.ts': `import { ApiError, createEngine, type Engine } from 'shaderloom';

const fallback = { baseURL: 'http://localhost:8000/v1' };
const engine: Engine = await createEngine('org/name', { worker: true, fallback });
const messages = [{ role: 'user', content: 'Hello' }];
engine.chat.completions.create({ messages }).catch((error) => console.log(error instanceof ApiError && error.status));
`,
  'server.ts': `import { loadModel } from 'shaderloom';
import { folder, folderStore, gpu } from 'shaderloom/node';

export const load = async (path: string) => loadModel(folder(path), { gpu: await gpu() });
export const keep = async (name: string) =>
  loadModel(name, { gpu: await gpu(), store: folderStore('models', { maxBytes: 1e9 }) });
`,
  // As most apps have it: no setting but the page.
  'keep.config.js': `export default { build: { target: 'es2022', rolldownOptions: { input: 'keep.html' } } };`,
  'engine.config.js': `export default { build: { target: 'es2022', rolldownOptions: { input: 'engine.html' } } };`,
  'tsconfig.json': JSON.stringify({
    compilerOptions: {
      strict: true,
      noEmit: true,
      target: 'ES2022',
      module: 'NodeNext',
      lib: ['ES2022', 'DOM', 'DOM.Iterable'],
      types: [],
      skipLibCheck: false,
    },
    files: ['app.ts', 'keep.ts', 'engine.ts', 'server.ts'],
  }),
};

const folder = mkdtempSync(join(tmpdir(), 'shaderloom-consumer-'));
try {
  const packed = JSON.parse(run('npm', ['pack', '--json', '--pack-destination', folder], ROOT));
  const tarball = join(folder, packed[0].filename);
  runTool('publint/src/cli.js', [tarball, '--strict'], ROOT);
  runTool(
    '@arethetypeswrong/cli/dist/index.js',
    [tarball, '--profile', 'esm-only', '--no-definitely-typed'],
    ROOT,
  );
  checkConsumer(tarball);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true });
}

/** @param {string} tarball */
function checkConsumer(tarball) {
  const app = join(folder, 'app');
  mkdirSync(app);
  for (const [name, text] of Object.entries(FILES)) writeFileSync(join(app, name), text);
  run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', tarball], app);
  runTool('typescript/bin/tsc', ['--project', app], app);
  runTool('vite/bin/vite.js', ['build', '--logLevel', 'warn', '--outDir', 'out'], app);
  run(
    process.execPath,
    ['--eval', "await Promise.all([import('shaderloom'), import('shaderloom/node')])"],
    app,
  );

  const { first: bytes, later } = bundleBytes(join(app, 'out'));
  if (bytes > MAX_BUNDLE_BYTES) {
    throw new Error(`the consumer's bundle has ${bytes} bytes after gzip; the budget is ${MAX_BUNDLE_BYTES}`);
  }
  for (const { name, workers } of [
    { name: 'keep', workers: ['store-worker'] },
    { name: 'engine', workers: ['engine-worker', 'store-worker'] },
  ]) {
    const options = ['--logLevel', 'warn', '--outDir', `${name}-out`, '--config', `${name}.config.js`];
    runTool('vite/bin/vite.js', ['build', ...options], app);
    for (const worker of workers) checkWorker(join(app, `${name}-out/assets`), worker);
  }
  console.log(
    `package: publint and types clean, a consumer's app builds to ${bytes} bytes after gzip, and ${later} that it loads when it needs them`,
  );
}

/**
 * An app with a store or an engine in a worker has the worker as a file of its own, which it names by URL: no blob or data URL, and
 * no import that only a bundler could follow.
 * @param {string} assets
 * @param {string} kind
 */
function checkWorker(assets, kind) {
  const names = readdirSync(assets).filter((name) => name.endsWith('.js'));
  const worker = names.find((name) => name.includes(kind));
  const app = names.filter((name) => name !== worker).map((name) => readFileSync(join(assets, name), 'utf8'));
  if (worker === undefined || !app.some((code) => code.includes(worker))) {
    throw new Error(`the consumer's bundle has no file ${kind} that it names, only ${names.join(', ')}`);
  }
  const code = readFileSync(join(assets, worker), 'utf8');
  if (/(^|[;}\n])\s*import\b[^;("']*["'`][^."'`]/.test(code))
    throw new Error(`${kind} imports a package by its name`);
}

/**
 * What a page loads at once, which is what index.html names, and what it loads when it first needs it.
 * @param {string} out
 */
function bundleBytes(out) {
  const html = readFileSync(join(out, 'index.html'), 'utf8');
  const names = readdirSync(join(out, 'assets')).filter((name) => name.endsWith('.js'));
  const bytes = { first: 0, later: 0 };
  for (const name of names) {
    const size = gzipSync(readFileSync(join(out, 'assets', name))).length;
    bytes[html.includes(name) ? 'first' : 'later'] += size;
  }
  return bytes;
}

/**
 * Runs a tool of this project's node_modules.
 * @param {string} tool
 * @param {string[]} args
 * @param {string} cwd
 */
function runTool(tool, args, cwd) {
  return run(process.execPath, [join(ROOT, 'node_modules', tool), ...args], cwd);
}

/**
 * @param {string} command
 * @param {string[]} args
 * @param {string} cwd
 * @throws an Error with everything that the command printed, when it fails
 */
function run(command, args, cwd) {
  const isScript = command === 'npm' && process.platform === 'win32';
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    shell: isScript,
  });
  if (status === 0) return stdout;
  throw new Error(`${command} ${args.join(' ')} failed\n${stdout}${stderr}${error ?? ''}`);
}
