/** A checkpoint without a tokenizer.json answers as it does with one. */
import { expect, it } from 'vitest';
import { loadModel } from '../../src/index.ts';
import type { Source } from '../../src/sources/source.ts';
import { fixtureFolders } from '../fixture-folders.ts';
import { vocabFilesOf } from '../tokenizer/vocab-files.ts';
import { jsonBytes } from '../weights/safetensors-writer.ts';

const { source } = fixtureFolders('tinyModels').find(({ name }) => name === 'tiny-qwen3')!;

const withVocabFiles = (config: object): Source => ({
  label: source.label,
  readStart: (...given) => source.readStart(...given),
  stream: (...given) => source.stream(...given),
  async readFile(name, options) {
    const read = async (file: string) =>
      JSON.parse(new TextDecoder().decode(await source.readFile(file, options)));
    if (name === 'tokenizer.json') return undefined;
    if (name === 'vocab.json') return jsonBytes(vocabFilesOf(await read('tokenizer.json')).vocab);
    if (name === 'merges.txt') {
      return new TextEncoder().encode(vocabFilesOf(await read('tokenizer.json')).merges);
    }
    if (name !== 'tokenizer_config.json') return source.readFile(name, options);
    return jsonBytes({ ...(await read(name)), ...config });
  },
});

it('vocab.json and merges.txt do, where tokenizer_config.json tells how texts are cut', async () => {
  const answers: string[] = [];
  for (const from of [source, withVocabFiles({ tokenizer_class: 'Qwen2Tokenizer' })]) {
    const model = await loadModel(from, { contextLength: 256, precision: 'f32' });
    const { result } = model.chat([{ role: 'user', content: 'What is 2 + 3?' }], {
      temperature: 0,
      maxTokens: 40,
    });
    answers.push(JSON.stringify((await result).message));
    model.dispose();
  }
  expect(answers[1]).toBe(answers[0]);
});

it('else the class is asked for by name, and before weights are read', async () => {
  const loading = loadModel(withVocabFiles({ tokenizer_class: 'LlamaTokenizer' }));
  await expect(loading).rejects.toThrow(/tokenizer_class is "LlamaTokenizer"/);
});
