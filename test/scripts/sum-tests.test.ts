import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const SUM_TESTS = join(import.meta.dirname, '../../scripts/sum-tests.mjs');

test('the last line of CI counts every test once, and a file that did not even load as one failed', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sum-'));
  const tests = (...statuses: string[]) => statuses.map((status) => ({ status }));
  const testResults = [
    { status: 'passed', assertionResults: tests('passed', 'passed', 'pending', 'todo') },
    { status: 'failed', assertionResults: tests('passed', 'failed', 'failed') },
    { status: 'failed', assertionResults: [] },
  ];
  await writeFile(join(folder, 'report.json'), JSON.stringify({ testResults }));
  const { stdout } = spawnSync(process.execPath, [SUM_TESTS, join(folder, 'report.json')], {
    encoding: 'utf8',
  });
  await rm(folder, { recursive: true });
  expect(stdout).toBe('3 passed, 3 failed, 2 skipped\n');
});
