/**
 * @file The library's second build: the engine's worker, all in one file. Bundlers of apps make workers that cannot load further
 * files, unless they are told otherwise.
 */
import { defineConfig } from 'vite';
import library from './vite.config.ts';

const { plugins, build } = library;

export default defineConfig({
  plugins,
  build: {
    ...build,
    emptyOutDir: false,
    lib: { entry: { 'engine-worker': 'src/worker/engine-worker.ts' }, formats: ['es'] },
    rolldownOptions: { ...build?.rolldownOptions, output: { codeSplitting: false } },
  },
});
