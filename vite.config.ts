/** @file One configuration for the dev server, the library build and the Vitest projects. */
import { availableParallelism } from 'node:os';
import { playwright } from '@vitest/browser-playwright';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';
import packageJson from './package.json' with { type: 'json' };
import { browserArgs, findBrowser } from './scripts/browser.mjs';
import { foreignFixtureFolders, listFixtures } from './test/list-fixtures.ts';

const root = import.meta.dirname;
const everyCase = process.env.EVERY_CASE === '1';
/** What the published library imports at run time rather than carrying along. */
const packages = [...Object.keys(packageJson.dependencies), 'webgpu'];

/** The dev server's front page is the chat page; it keeps its own folder so that its relative links hold. */
const openChat: Plugin = {
  name: 'open-chat',
  configureServer(server) {
    server.middlewares.use((request, response, next) => {
      if (!/^\/(\?|$)/.test(request.url ?? '')) return next();
      response.writeHead(302, { location: `/examples/chat/${request.url?.slice(1)}` }).end();
    });
  },
};

/**
 * Comments and spaces of WGSL are for readers of the source; in the published text they would be a tenth of it. Lines stay where
 * they are, and messages about them name the right ones.
 */
const shortenWgsl: Plugin = {
  name: 'shorten-wgsl',
  apply: 'build',
  transform(code, id) {
    if (!id.endsWith('.wgsl?raw')) return undefined;
    const text = JSON.parse(code.replace(/^export default /, '').replace(/;?\s*$/, '')) as string;
    const short = text
      .replace(/^[ \t]+|[ \t]*\/\/.*$/gm, '')
      .replace(/([,;:{}]) | (?=[{}])/g, '$1')
      // A template's end and an assignment would become a comparison.
      .replace(/(?<!>) ([-+*/]?=|[+*/]) /g, '$1');
    return { code: `export default ${JSON.stringify(short)};`, map: null };
  },
};

/**
 * The published library names its workers as files beside it, so that a bundler of apps finds them and a strict content security
 * policy allows them; Vite itself would inline them or hide their addresses.
 */
const WORKERS: Readonly<Record<string, string>> = {
  'src/store/open-store.ts': 'store-worker',
  'src/worker/worker-backend.ts': 'engine-worker',
};
const keepWorkersBeside: Plugin = {
  name: 'keep-workers-beside',
  apply: 'build',
  enforce: 'pre',
  transform(code, id) {
    const [, name] = Object.entries(WORKERS).find(([file]) => id.endsWith(file)) ?? [];
    if (!name) return undefined;
    const address = `new URL('./${name}.ts', import.meta.url)`;
    if (!code.includes(address)) this.error(`wanted ${address} in ${id}`);
    return { code: code.replace(address, `__WORKER__(${JSON.stringify(name)})`), map: null };
  },
  renderChunk(code) {
    const named = code.replace(/__WORKER__\("([\w-]+)"\)/g, "new URL('./$1.js', import.meta.url)");
    return named === code ? null : { code: named, map: null };
  },
};

/**
 * Tests without a GPU; those of the project `pure` are quick enough for every commit. Their files need no process of their own, and with
 * two cores the one that Vitest would leave free is half of them.
 */
const inProcess = {
  isolate: false,
  maxWorkers: availableParallelism(),
  testTimeout: 30_000,
  hookTimeout: 30_000,
  sequence: { groupOrder: 0 },
};

/** GPU tests share one adapter. A software one compiles on one core, which leaves room for a second file. */
const gpuTest = { testTimeout: 300_000, hookTimeout: 300_000, maxWorkers: 2 };
/** Pages and tests inside the browser go side by side: both have one long file. */
const inBrowser = { ...gpuTest, sequence: { groupOrder: 1 } };

/** Minutes on a software adapter in a page. They need no other kernels than the goldens and the chat page, which run there always. */
const longInPages = [
  'test/runtime/{logprobs,self-test,tiny-models,tune}.gpu.test.ts',
  'test/kernels/{attend,attend-company,attend-split,attend-window,company,expert-linear,head-linear,int-formats,linear,prepare-latent,route,sample,sample-company,sampling-goldens}.gpu.test.ts',
  'test/openai/sdk.gpu.test.ts',
  'test/weights/{convert,upload-integers}.gpu.test.ts',
];

export default defineConfig({
  // A missing file is a 404, never some page with status 200.
  appType: 'mpa',
  plugins: [openChat, shortenWgsl, keepWorkersBeside],
  server: { fs: { allow: [root, ...foreignFixtureFolders(process.env)] } },
  // Known from the start, so that the first page to need one is not reloaded in the middle of its work.
  optimizeDeps: {
    include: [
      'wgsl-preprocessor/wgsl-preprocessor.js',
      'marked',
      'dompurify',
      '@noble/hashes/sha2.js',
      '@noble/hashes/legacy.js',
    ],
  },
  build: {
    target: 'es2022',
    minify: false,
    sourcemap: true,
    lib: {
      entry: {
        index: 'src/index.ts',
        node: 'src/node.ts',
        cli: 'src/cli/main.ts',
        // A file of its own: an app that opens no store does not even look at it, and gets no worker.
        'open-store': 'src/store/open-store.ts',
        'store-worker': 'src/store/store-worker.ts',
        'worker-backend': 'src/worker/worker-backend.ts',
      },
      formats: ['es'],
    },
    rolldownOptions: {
      external: (id) => id.startsWith('node:') || packages.some((name) => id.startsWith(name)),
    },
  },
  test: {
    provide: { fixtures: listFixtures(root, process.env), everyCase },
    // What is waited for comes soon on a quiet machine; a busy one may take its time.
    expect: { poll: { timeout: 20_000 } },
    projects: [
      {
        extends: true,
        test: {
          name: 'pure',
          include: ['test/**/*.test.ts'],
          exclude: ['test/**/*.{gpu,chrome,page,long}.test.ts'],
          ...inProcess,
        },
      },
      {
        extends: true,
        test: {
          name: 'long',
          include: ['test/**/*.long.test.ts'],
          ...inProcess,
          testTimeout: 120_000, // some take ten seconds on a busy machine
        },
      },
      {
        extends: true,
        test: {
          name: 'node',
          include: ['test/**/*.gpu.test.ts'],
          globalSetup: ['test/global-setup-node.ts'],
          setupFiles: ['test/setup-node.ts'],
          sequence: { groupOrder: 2 },
          ...gpuTest,
        },
      },
      {
        extends: true,
        optimizeDeps: {
          include: ['fast-check', 'openai', 'ai', '@ai-sdk/openai-compatible', '@langchain/openai'],
        },
        test: {
          name: 'chrome',
          include: ['test/**/*.{gpu,chrome}.test.ts'],
          // Many loads of a model, and each compiles for half a minute on a software adapter in a page; what a page makes of
          // loading, stopping, speculation and broken checkpoints is the page tests' affair.
          exclude: [
            'test/chat/chat.gpu.test.ts',
            'test/openai/{engine,reading,structured}.gpu.test.ts',
            'test/runtime/{debug,embed,experts,fit,load,schedules,score,sequences,speculate}.gpu.test.ts',
            'test/serve/{command,company}.gpu.test.ts', // a process or a server of Node
            'test/store/load.gpu.test.ts', // in a folder of Node
            ...(everyCase ? [] : longInPages),
          ],
          browser: {
            enabled: true,
            headless: true,
            provider: playwright({ launchOptions: { executablePath: findBrowser(), args: browserArgs } }),
            instances: [{ browser: 'chromium' }],
            screenshotFailures: false,
          },
          ...inBrowser,
        },
      },
      {
        extends: true,
        test: {
          name: 'page',
          include: ['test/**/*.page.test.ts'],
          ...inBrowser,
        },
      },
    ],
  },
});
