import { expect, test } from 'vitest';
import { fixtureFolders } from './fixture-folders.ts';

test('fixtures are listed and read the same way in Node and in a page', async () => {
  const goldens = fixtureFolders('goldens');
  expect(goldens.map(({ name }) => name)).toContain('qwen3-dense');
  for (const { files, source } of goldens) {
    const name = files.find((file) => file.endsWith('.json'))!;
    const bytes = await source.readFile(name);
    expect(typeof JSON.parse(new TextDecoder().decode(bytes))).toBe('object');
  }
});

test('a file that a fixture lacks is reported as missing', async () => {
  const [first] = fixtureFolders('goldens');
  expect(await first!.source.readFile('nothing.json')).toBeUndefined();
});
