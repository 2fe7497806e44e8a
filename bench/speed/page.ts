/** @file Runs in the page that `npm run bench` opens. */
import { runSuite, type SuiteOptions, type SuiteResult } from './suite.ts';

declare global {
  interface Window {
    speedBench: (options: SuiteOptions) => Promise<SuiteResult>;
    tellLine(line: string): Promise<void>;
  }
}

window.speedBench = (options) =>
  runSuite(options, {
    environment: navigator.userAgent,
    onLine: (line) => void window.tellLine(line),
  });
