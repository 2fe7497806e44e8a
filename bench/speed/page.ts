/** @file Runs in the page that `npm run bench` opens. */
import { type BatchOptions, type BatchResult, runBatch } from './batch.ts';
import { runSuite, type SuiteOptions, type SuiteResult } from './suite.ts';

declare global {
  interface Window {
    speedBench: (options: SuiteOptions) => Promise<SuiteResult>;
    batchBench: (options: BatchOptions) => Promise<BatchResult>;
    tellLine(line: string): Promise<void>;
  }
}

const surroundings = {
  environment: navigator.userAgent,
  onLine: (line: string) => void window.tellLine(line),
};
window.speedBench = (options) => runSuite(options, surroundings);
window.batchBench = (options) => runBatch(options, surroundings);
