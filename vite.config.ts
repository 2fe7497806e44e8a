/** @file One configuration for the dev server, the library build and the four Vitest projects. */
import { playwright } from '@vitest/browser-playwright';
import { defineConfig } from 'vitest/config';
import { browserArgs, findBrowser } from './scripts/browser.mjs';

const gpuTest = { testTimeout: 120_000, hookTimeout: 120_000, fileParallelism: false };

export default defineConfig({
  appType: 'mpa',
  test: {
    projects: [
      {
        test: {
          name: 'pure',
          include: ['test/**/*.test.ts'],
          exclude: ['test/**/*.{gpu,chrome,page}.test.ts'],
        },
      },
      {
        test: {
          name: 'node',
          include: ['test/**/*.gpu.test.ts'],
          setupFiles: ['test/setup-node.ts'],
          ...gpuTest,
        },
      },
      {
        test: {
          name: 'chrome',
          include: ['test/**/*.{gpu,chrome}.test.ts'],
          browser: {
            enabled: true,
            headless: true,
            provider: playwright({ launchOptions: { executablePath: findBrowser(), args: browserArgs } }),
            instances: [{ browser: 'chromium' }],
            screenshotFailures: false,
          },
          ...gpuTest,
        },
      },
      {
        test: {
          name: 'page',
          include: ['test/**/*.page.test.ts'],
          ...gpuTest,
        },
      },
    ],
  },
});
