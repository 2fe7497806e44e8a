import { defineConfig } from 'vitest/config';

export default defineConfig({
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
          fileParallelism: false,
          testTimeout: 120_000,
        },
      },
    ],
  },
});
