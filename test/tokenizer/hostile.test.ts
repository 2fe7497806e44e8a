/** @file A tokenizer.json from anywhere either works or gives a TokenizerError that names the field; nothing else happens. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Tokenizer, TokenizerError } from '../../tokenizer/index.ts';
import { anyCharacter } from '../any-character.ts';
import { numCases } from '../num-cases.ts';
import { type TokenizerJson, tinyJson, tinyTokenizer } from './tiny-json.ts';
import { PATIENT } from './tokenizers.ts';

const split = (json: TokenizerJson) => json.pre_tokenizer.pretokenizers[0]!;
const byteLevel = (json: TokenizerJson) => json.pre_tokenizer.pretokenizers[1]!;

describe('what is not supported is refused by the name of its field, with what was found and what is supported', () => {
  const cases: [name: string, change: (json: TokenizerJson) => void, message: RegExp][] = [
    ['another model', (j) => (j.model.type = 'Unigram'), /model\.type is "Unigram"; supported: "BPE"/],
    ['no model', (j) => Reflect.deleteProperty(j, 'model'), /model is undefined/],
    ['dropout', (j) => (j.model.dropout = 0.1), /model\.dropout is 0\.1/],
    [
      'byte fallback for bytes that have no token',
      (j) => {
        Reflect.deleteProperty(j.model.vocab, '~');
        Object.assign(j.model, { byte_fallback: true });
      },
      /model\.byte_fallback is true; supported: false, since some bytes/,
    ],
    [
      'a subword prefix',
      (j) => (j.model.continuing_subword_prefix = '##'),
      /continuing_subword_prefix is "##"/,
    ],
    ['a word suffix', (j) => (j.model.end_of_word_suffix = '</w>'), /end_of_word_suffix is "<\/w>"/],
    ['an unknown token of a wrong type', (j) => (j.model.unk_token = 5), /model\.unk_token is 5/],
    ['an unknown option', (j) => (j.model.future = 1), /model has the key "future"/],
    ['an unknown section', (j) => Object.assign(j, { future: 1 }), /the key "future"/],
    [
      'an own __proto__',
      (j) => void Object.defineProperty(j.model, '__proto__', { value: {}, enumerable: true }),
      /"__proto__"/,
    ],
    ['vocab as a list', (j) => Object.assign(j.model, { vocab: [] }), /model\.vocab is an array of 0/],
    ['a negative id', (j) => (j.model.vocab.a = -1), /model\.vocab\["a"\] is -1/],
    ['a fractional id', (j) => (j.model.vocab.a = 1.5), /model\.vocab\["a"\] is 1\.5/],
    [
      'an id too large for any table',
      (j) => (j.model.vocab.a = 2 ** 31),
      /model\.vocab\["a"\] is 2147483648/,
    ],
    ['an id as text', (j) => Object.assign(j.model.vocab, { a: '64' }), /model\.vocab\["a"\] is "64"/],
    ['one id for two tokens', (j) => (j.model.vocab.zq = 300), /the id 300 stands for/],
    [
      'no token for any byte',
      (j) => Object.assign(j.model, { vocab: { '\u4e00': 0 }, merges: [] }),
      /no token for any byte/,
    ],
    [
      'a token for unknown bytes that is not there',
      (j) => {
        Reflect.deleteProperty(j.model.vocab, '~');
        Object.assign(j.model, { unk_token: '<unk>' });
      },
      /unk_token is "<unk>"; supported: a token of model\.vocab/,
    ],
    ['merges as an object', (j) => Object.assign(j.model, { merges: {} }), /model\.merges is an object/],
    ['a merge of three', (j) => j.model.merges.push('a b c'), /model\.merges\[759\] is "a b c"/],
    ['a merge of one', (j) => j.model.merges.push('ab'), /model\.merges\[759\] is "ab"/],
    [
      'an empty side of a merge',
      (j) => j.model.merges.push(['', 'a']),
      /model\.merges\[759\] is an array of 2/,
    ],
    ['a merge of numbers', (j) => j.model.merges.push([1, 2]), /model\.merges\[759\]/],
    [
      'a merge of unknown tokens',
      (j) => j.model.merges.push('q zz'),
      /"zz" is not a token that model\.vocab gives to text/,
    ],
    [
      'a merge into no token',
      (j) => j.model.merges.push('q z'),
      /"qz" is not a token that model\.vocab gives to text/,
    ],
    [
      'a lowercasing normalizer',
      (j) => (j.normalizer = { type: 'Lowercase' }),
      /normalizer\.type is "Lowercase"; supported: NFC, NFD/,
    ],
    ['a normalizer option', (j) => (j.normalizer = { type: 'NFC', x: 1 }), /normalizer has the key "x"/],
    [
      'a nested normalizer',
      (j) => (j.normalizer = { type: 'Sequence', normalizers: [{ type: 'Sequence', normalizers: [] }] }),
      /normalizer\.normalizers\[0\]\.type is "Sequence"/,
    ],
    ['no pre-tokenizer', (j) => Object.assign(j, { pre_tokenizer: null }), /pre_tokenizer is null/],
    [
      'another pre-tokenizer',
      (j) => (byteLevel(j).type = 'Metaspace'),
      /pretokenizers\[1\]\.type is "Metaspace"/,
    ],
    ['Split last', (j) => j.pre_tokenizer.pretokenizers.reverse(), /pretokenizers\[0\]\.type is "ByteLevel"/],
    [
      'another behaviour',
      (j) => (split(j).behavior = 'MergedWithNext'),
      /behavior is "MergedWithNext"; supported: "Isolated"/,
    ],
    [
      'a pattern that has no counterpart',
      (j) => (split(j).pattern = { Regex: 'a{2}+' }),
      /pattern\.Regex is "a\{2\}\+"/,
    ],
    ['no pattern', (j) => (split(j).pattern = {}), /pattern\.Regex is undefined/],
    ['a prefix space', (j) => (byteLevel(j).add_prefix_space = true), /add_prefix_space is true/],
    [
      'another post-processor',
      (j) => (j.post_processor = { type: 'BertProcessing' }),
      /post_processor\.type is "BertProcessing"/,
    ],
    [
      'a template that appends two',
      (j) =>
        (j.post_processor = {
          type: 'TemplateProcessing',
          single: [{ Sequence: {} }, { SpecialToken: { id: 'x' } }, { SpecialToken: { id: 'x' } }],
        }),
      /post_processor\.single/,
    ],
    [
      'another decoder',
      (j) => (j.decoder = { type: 'WordPiece' }),
      /decoder is "WordPiece"; supported: one "ByteLevel"/,
    ],
    ['added tokens as an object', (j) => Object.assign(j, { added_tokens: {} }), /added_tokens is an object/],
    ['an empty added token', (j) => (j.added_tokens[0]!.content = ''), /added_tokens\[0\]\.content is ""/],
    [
      'an added token of half a character',
      (j) => (j.added_tokens[0]!.content = '\ud800'),
      /added_tokens\[0\]\.content/,
    ],
    [
      'a template that gives a token another id',
      (j) =>
        (j.post_processor = {
          type: 'TemplateProcessing',
          single: [{ SpecialToken: { id: '<|im_end|>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
          pair: [],
          special_tokens: { '<|im_end|>': { id: '<|im_end|>', ids: [3], tokens: ['<|im_end|>'] } },
        }),
      /special_tokens\["<\|im_end\|>"\]\.ids is 3; supported: 1017/,
    ],
    ['two added tokens with one id', (j) => (j.added_tokens[1]!.id = 1015), /added_tokens\[1\]/],
    [
      'two added tokens with one text',
      (j) => (j.added_tokens[1]!.content = '<|endoftext|>'),
      /added_tokens\[1\]/,
    ],
    [
      'an added token on the id of another',
      (j) => (j.added_tokens[0]!.id = 300),
      /the id 300 stands for "<\|endoftext\|>"/,
    ],
    [
      'an added token with two ids',
      (j) => (j.model.vocab['<|endoftext|>'] = 1030),
      /the id 1015 and model\.vocab the id 1030/,
    ],
    [
      'an added token that is other bytes',
      (j) => j.added_tokens.push({ id: j.model.vocab.Ġ!, content: 'Ġ' }),
      /stands for other bytes/,
    ],
    [
      'a flag of a wrong type',
      (j) => Object.assign(j.added_tokens[0]!, { lstrip: 'yes' }),
      /added_tokens\[0\]\.lstrip is "yes"/,
    ],
    [
      'an unknown flag',
      (j) => Object.assign(j.added_tokens[0]!, { fuzzy: true }),
      /added_tokens\[0\] has the key "fuzzy"/,
    ],
  ];
  test.each(cases.map(([name, change, message]) => ({ name, change, message })))(
    '$name',
    ({ change, message }) => {
      const load = () => tinyTokenizer(change);
      expect(load).toThrow(TokenizerError);
      expect(load).toThrow(/^tokenizer\.json: /);
      expect(load).toThrow(message);
    },
  );

  const configs: [name: string, config: unknown, message: RegExp][] = [
    ['EOS after every text, perhaps', { add_eos_token: 'yes' }, /add_eos_token is "yes"/],
    ['added tokens that are a list', { added_tokens_decoder: [] }, /added_tokens_decoder is an array/],
    [
      'an added token with an absurd id',
      { added_tokens_decoder: { x: { content: 'a' } } },
      /added_tokens_decoder\["x"\]\.id is NaN/,
    ],
    [
      'a BOS that is no token',
      { bos_token: '<s>' },
      /bos_token is "<s>", which tokenizer\.json does not have/,
    ],
    ['a token of a wrong type', { eos_token: 5 }, /eos_token is 5/],
    ['a token without content', { pad_token: {} }, /pad_token\.content is undefined/],
    ['a flag of a wrong type', { add_bos_token: 'yes' }, /add_bos_token is "yes"/],
    ['a config that is a list', [], /the file is an array of 0/],
  ];
  test.each(configs.map(([name, config, message]) => ({ name, config, message })))(
    '$name in the config',
    ({ config, message }) => {
      const load = () => Tokenizer.fromJSON(tinyJson(), config);
      expect(load).toThrow(TokenizerError);
      expect(load).toThrow(/^tokenizer_config\.json: /);
      expect(load).toThrow(message);
    },
  );

  test.each([undefined, null, 5, 'text', [], () => 1])('%s in place of the file', (json) => {
    expect(() => Tokenizer.fromJSON(json)).toThrow(TokenizerError);
  });
});

test('an added token has the next id after model.vocab, as the library tokenizers would give it', () => {
  const json = tinyJson();
  json.added_tokens[3]!.id = 1030;
  expect(() => Tokenizer.fromJSON(json)).toThrow(
    /tokenizer\.json: added_tokens\[3\]\.id is 1030; supported: 1018, the next one after model\.vocab/,
  );
});

test('loading touches no prototype', () => {
  const json = tinyJson();
  const vocab = JSON.parse('{"__proto__": 1015, "constructor": 1016, "hasOwnProperty": 1017}');
  json.model.vocab = Object.defineProperties(json.model.vocab, Object.getOwnPropertyDescriptors(vocab));
  json.added_tokens = [{ id: 1018, content: 'toString' }];
  const before = Object.getOwnPropertyNames(Object.prototype);
  Tokenizer.fromJSON(json).encode('__proto__ constructor toString');
  expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(before);
  expect(Object.getPrototypeOf({})).toBe(Object.prototype);
});

test('a file changed anywhere at random gives a working tokenizer or a TokenizerError', PATIENT, () => {
  /** Every object and list of the file that is worth changing: large ones by a few of their entries. */
  const places = (value: unknown): [holder: Record<string, unknown>, key: string][] => {
    if (typeof value !== 'object' || value === null) return [];
    const holder = value as Record<string, unknown>;
    const keys = Object.keys(holder);
    const some = keys.length > 20 ? [...keys.slice(0, 4), ...keys.slice(-4)] : keys;
    return some.flatMap((key) => [
      [holder, key] as [Record<string, unknown>, string],
      ...places(holder[key]),
    ]);
  };
  const pattern = fc.string({
    unit: fc.constantFrom(...'()[]{}^-&|?*+.\\psdLNi:=!<a1,𝕏'.split('')),
    maxLength: 12,
  });
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom(
      undefined,
      'Sequence',
      'Split',
      'ByteLevel',
      'NFC',
      '__proto__',
      '\ud800',
      -0,
      1e300,
      2 ** 22 - 1,
    ),
    fc.integer({ min: 0, max: 1100 }),
    pattern.map((Regex) => ({ Regex })),
    pattern,
  );
  const change = fc.tuple(
    fc.nat(),
    fc.oneof(
      value,
      pattern.map((Regex) => ({ type: 'Split', behavior: 'Isolated', invert: false, pattern: { Regex } })),
    ),
  );
  fc.assert(
    fc.property(
      fc.array(change, { minLength: 1, maxLength: 3 }),
      fc.string({ unit: anyCharacter, maxLength: 20 }),
      (changes, text) => {
        const json = tinyJson();
        for (const [place, replacement] of changes) {
          const all = places(json);
          const [holder, key] = all[place % all.length]!;
          holder[key] = replacement;
        }
        try {
          const tokenizer = Tokenizer.fromJSON(json);
          const ids = tokenizer.encode(`${text} The <think> answer's 42.`);
          tokenizer.decode(ids);
          const stream = tokenizer.createStream({ skipSpecial: true });
          for (const id of ids) stream.push(id);
          stream.flush();
        } catch (error) {
          if (!(error instanceof TokenizerError)) throw error;
        }
      },
    ),
    { numRuns: numCases(200) },
  );
});
