/** @file Chat templates in a page: the same rows in another JavaScript engine version. */
import { describe, test } from 'vitest';
import { fixtureFolders } from '../fixture-folders.ts';
import { checkChatRows, checkJinjaRows, checkRecordedPrompts } from './chat-cases.ts';
import { evalFiles } from './eval-cases.ts';

describe.each(fixtureFolders('tokenizerGoldens'))('goldens $name', (fixture) => {
  test.runIf(fixture.files.includes('chat.jsonl'))('conversations give the text of transformers', () =>
    checkChatRows(fixture),
  );

  test.runIf(fixture.files.includes('jinja.jsonl'))('small templates give the text of Jinja2', () =>
    checkJinjaRows(fixture),
  );
});

describe.each(fixtureFolders('tinyModels'))('$name', (fixture) => {
  test.each(evalFiles(fixture))('renders the recorded prompts of %s', (file) =>
    checkRecordedPrompts(fixture, file),
  );
});
