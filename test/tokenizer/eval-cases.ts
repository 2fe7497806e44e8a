/** @file The recorded prompts and answers of the tiny models, as a check of their tokenizers, in Node and in a page. */
import { expect } from 'vitest';
import { Tokenizer } from '../../tokenizer/index.ts';
import type { Fixture } from '../fixture-folders.ts';

interface EvalCase {
  prompt: string;
  prompt_ids: number[];
  output_ids: number[];
  output: string;
}

export const evalFiles = (fixture: Fixture): string[] =>
  fixture.files.filter((name) => /^eval.*\.json$/.test(name));

/** Every prompt has the recorded ids, and every answer's ids give its text, at once and streamed. */
export async function expectRecordedIds(fixture: Fixture, evalFile: string): Promise<void> {
  const readJson = async (file: string) =>
    JSON.parse(new TextDecoder().decode(await fixture.source.readFile(file)));
  const tokenizer = Tokenizer.fromJSON(
    await readJson('tokenizer.json'),
    await readJson('tokenizer_config.json'),
  );
  const { cases } = (await readJson(evalFile)) as { cases: EvalCase[] };
  expect(cases.length).toBeGreaterThan(0);
  for (const { prompt, prompt_ids, output_ids, output } of cases) {
    // In budget mode the runtime appended its message to the ids of a running answer.
    const parts = prompt.split(/(?=\n\nConsidering the limited time)/);
    const ids = parts.flatMap((part) => Array.from(tokenizer.encode(part, { addBos: false })));
    expect(ids).toEqual(prompt_ids);
    expect(tokenizer.decode(output_ids)).toBe(output);
    const stream = tokenizer.createStream();
    expect(output_ids.map((id) => stream.push(id)).join('') + stream.flush()).toBe(output);
  }
}
