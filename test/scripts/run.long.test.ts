import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

const RUN = join(import.meta.dirname, '../../scripts/run.mjs');

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'run-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function run(code: string, ...args: string[]) {
  const file = join(folder, 'program.ts');
  await writeFile(file, code);
  const { status, stdout, stderr } = spawnSync(process.execPath, [RUN, file, ...args], { encoding: 'utf8' });
  return { status, stdout, stderr };
}

test('a TypeScript program runs with its arguments, text imported by ?raw, and the exit code that it sets', async () => {
  await writeFile(join(folder, 'kernel.wgsl'), 'fn f() {}');
  const code = `import text from './kernel.wgsl?raw';
    const answer: string = await Promise.resolve(text);
    console.log(answer, ...process.argv.slice(2));
    process.exitCode = 3;`;
  expect(await run(code, '--flag', 'two words')).toEqual({
    status: 3,
    stdout: 'fn f() {} --flag two words\n',
    stderr: '',
  });
});

test('a program that throws ends with code 1 and its error on stderr', async () => {
  const { status, stderr } = await run(
    "const none: string[] = []; throw new RangeError('too ' + none.length);",
  );
  expect(status).toBe(1);
  expect(stderr).toContain('RangeError: too 0');
});
