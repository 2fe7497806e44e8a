/**
 * @file The chat-template goldens: what Python's Jinja2, set up as transformers sets it up, gives for templates of
 * published models and for small ones. Runs over the project's fixture and every folder named in TOKENIZER_GOLDENS,
 * and prints a line for each file. No row is left out.
 */
import { describe, test } from 'vitest';
import { fixtureFolders } from '../fixture-folders.ts';
import { checkChatRows, checkJinjaRows } from './chat-cases.ts';
import { PATIENT } from './tokenizers.ts';

for (const fixture of fixtureFolders('tokenizerGoldens')) {
  const has = (file: string): boolean => fixture.files.includes(file);

  describe(`goldens ${fixture.name}`, PATIENT, () => {
    test.runIf(has('chat.jsonl'))(
      'conversations give the text of transformers, and an error where it raises one',
      () => checkChatRows(fixture),
    );

    test.runIf(has('jinja.jsonl'))(
      'small templates give the text of Jinja2, and an error where it raises one',
      () => checkJinjaRows(fixture),
    );
  });
}
