/** Tokenizers of checkpoints that have only vocab.json and merges.txt: the ids that transformers gives with the same files. */
import { describe, expect, it } from 'vitest';
import { Tokenizer } from '../../tokenizer/index.ts';
import reference from '../fixtures/vocab-files.json';
import { tinyJson } from './tiny-json.ts';
import { vocabFilesOf } from './vocab-files.ts';

const { vocab, merges } = vocabFilesOf(tinyJson());
const [qwen2] = reference.cases;

describe.each(reference.cases)('$name', ({ config, added, rows, special }) => {
  it('gives the ids that transformers gives', async () => {
    for (const text of [merges, merges.replaceAll('\n', '\r\n'), merges.replace(/^#.*\n/, '')]) {
      const files = { vocab, merges: text, addedTokens: added ?? undefined };
      const tokenizer = await Tokenizer.fromVocabFiles(files, config);
      for (const [text, ids] of rows as [string, number[]][]) {
        expect(Array.from(tokenizer.encode(text, { addBos: false })), JSON.stringify(text)).toEqual(ids);
        expect(tokenizer.decode(ids)).toBe(
          config.tokenizer_class === 'Qwen2Tokenizer' ? text.normalize() : text,
        );
      }
      expect([...tokenizer.specialIds].sort((a, b) => a - b)).toEqual(special);
    }
  });
});

describe('what is not understood is refused by name', () => {
  it.each<[string, object, object, RegExp]>([
    [
      'another class',
      { tokenizer_class: 'LlamaTokenizer' },
      {},
      /tokenizer_class is "LlamaTokenizer".*Qwen2Tokenizer, GPT2Tokenizer/,
    ],
    [
      'a class that is a method of objects',
      { tokenizer_class: 'toString' },
      {},
      /tokenizer_class is "toString"/,
    ],
    ['no class', { tokenizer_class: undefined }, {}, /tokenizer_class is undefined/],
    [
      'a space before every text',
      { add_prefix_space: true },
      {},
      /add_prefix_space is true; supported: false/,
    ],
    ['a rule without its tokens', {}, { merges: 'Ġ nothing-there' }, /merges\[0\]/],
    ['a vocabulary that is none', {}, { vocab: [] }, /vocab\.json is an array of 0/],
    ['ids that are none', {}, { addedTokens: { '<x>': -1 } }, /"<x>" has the id -1/],
    ['special tokens that are none', { additional_special_tokens: [7] }, {}, /a special token is 7/],
    ['an end token that nobody has', { eos_token: '<end>' }, {}, /eos_token is "<end>"/],
  ])('%s', async (_, config, files, message) => {
    const making = Tokenizer.fromVocabFiles({ vocab, merges, ...files }, { ...qwen2!.config, ...config });
    await expect(making).rejects.toThrow(message);
  });
});
