/**
 * @file `node scripts/sum-tests.mjs FILE`: prints `N passed, N failed, N skipped` over all projects of a Vitest JSON
 * report. A test file that failed before its first test counts as one failed.
 */
import { readFileSync } from 'node:fs';

/** @type {{ testResults: { status: string, assertionResults: { status: string }[] }[] }} */
const report = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8'));
const counts = { passed: 0, failed: 0, skipped: 0 };
for (const { status, assertionResults } of report.testResults) {
  for (const test of assertionResults) {
    if (test.status === 'passed' || test.status === 'failed') counts[test.status]++;
    else counts.skipped++;
  }
  if (status === 'failed' && !assertionResults.some((test) => test.status === 'failed')) counts.failed++;
}
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
