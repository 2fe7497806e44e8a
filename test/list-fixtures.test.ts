import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, delimiter, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { listFixtures } from './list-fixtures.ts';

const ROOT = join(import.meta.dirname, '..');

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fixtures-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function fixture(name: string, ...files: string[]): Promise<void> {
  await mkdir(join(folder, name), { recursive: true });
  for (const file of files) await writeFile(join(folder, name, file), '{}');
}

test('folders named in the environment come after the fixtures of the project', async () => {
  await fixture('more/one', 'golden.json', 'config.json');
  await fixture('more/two', 'golden.json');
  await fixture('more/notes', 'README.md');
  await fixture('single', 'sampling.json');
  const own = listFixtures(ROOT, {}).goldens;
  const env = { GOLDENS: [join(folder, 'more'), join(folder, 'single')].join(delimiter) };
  const all = listFixtures(ROOT, env).goldens;
  expect(own.length).toBeGreaterThan(0);
  expect(all.slice(0, own.length)).toEqual(own);
  expect(all.slice(own.length).map(({ name, files }) => ({ name, files }))).toEqual([
    { name: 'one', files: ['config.json', 'golden.json'] },
    { name: 'two', files: ['golden.json'] },
    { name: 'single', files: ['sampling.json'] },
  ]);
});

test('addresses are those of the dev server, inside and outside the project', async () => {
  await fixture('a model', 'eval.json');
  const { goldens, tinyModels } = listFixtures(ROOT, { TINY_MODELS: join(folder, 'a model') });
  expect(goldens[0]!.url).toMatch(/^\/test\/fixtures\/goldens\/[\w-]+$/);
  expect(tinyModels.at(-1)!.url).toBe(`/@fs${tmpdir()}/${basename(folder)}/a%20model`);
});

test('a folder that does not exist is an error that names it and the variable', () => {
  const missing = join(folder, 'nothing');
  expect(() => listFixtures(ROOT, { GOLDENS: missing })).toThrow(`GOLDENS names ${missing}`);
});

test('a folder without fixtures is an error, not a run over nothing', async () => {
  await fixture('empty', 'README.md');
  expect(() => listFixtures(ROOT, { TOKENIZER_GOLDENS: folder })).toThrow(
    `TOKENIZER_GOLDENS names ${folder}`,
  );
});
