/** @file What users can rely on from a Tokenizer, on the embedded tiny model and on variations of its tokenizer.json. */
import { describe, expect, test } from 'vitest';
import { TokenizerError } from '../../tokenizer/index.ts';
import { fixtureFolders } from '../fixture-folders.ts';
import { evalFiles, expectRecordedIds } from './eval-cases.ts';
import { type AddedTokenJson, type TokenizerJson, tinyTokenizer } from './tiny-json.ts';

for (const fixture of fixtureFolders('tinyModels')) {
  test.each(evalFiles(fixture))(
    `the prompts and answers of ${fixture.name}/%s have the recorded ids`,
    (file) => expectRecordedIds(fixture, file),
  );
}

describe('tokens and ids', () => {
  const tokenizer = tinyTokenizer(undefined, {
    bos_token: null,
    eos_token: '<|im_end|>',
    pad_token: { __type: 'AddedToken', content: '<|endoftext|>' },
  });

  test('tokens are found by the text of tokenizer.json, and back', () => {
    expect(tokenizer.tokenToId('<|im_end|>')).toBe(1017);
    expect(tokenizer.idToToken(1017)).toBe('<|im_end|>');
    for (let id = 0; id < tokenizer.vocabSize; id++) {
      expect(tokenizer.tokenToId(tokenizer.idToToken(id)!)).toBe(id);
    }
    expect(tokenizer.vocabSize).toBe(1024);
  });

  test('what no token has is undefined, also names that objects inherit', () => {
    for (const text of ['no such token', '__proto__', 'constructor', 'toString', '日']) {
      expect(tokenizer.tokenToId(text)).toBeUndefined();
    }
    for (const id of [1024, -1, 0.5, Number.NaN, 2 ** 40]) expect(tokenizer.idToToken(id)).toBeUndefined();
  });

  test('special ids are the control tokens, and think and tool tags are not among them', () => {
    expect([...tokenizer.specialIds]).toEqual([1015, 1016, 1017]);
    expect(tokenizer.addedTokens.find(({ content }) => content === '<think>')?.special).toBe(false);
  });

  test('BOS, EOS and padding come from tokenizer_config.json, as text or as an object', () => {
    expect([tokenizer.bosToken, tokenizer.bosTokenId]).toEqual([undefined, undefined]);
    expect([tokenizer.eosToken, tokenizer.eosTokenId]).toEqual(['<|im_end|>', 1017]);
    expect([tokenizer.padToken, tokenizer.padTokenId]).toEqual(['<|endoftext|>', 1015]);
  });

  test('ids that no token has are dropped', () => {
    expect(tokenizer.decode([1024, -1, 0.5, Number.NaN, 2 ** 40, 39])).toBe(tokenizer.decode([39]));
    const stream = tokenizer.createStream();
    expect(stream.push(-1) + stream.push(5000) + stream.flush()).toBe('');
  });
});

describe('BOS', () => {
  const bos = { bos_token: '<|im_start|>' };
  const first = (config: unknown, options = {}, change?: (json: TokenizerJson) => void): number =>
    tinyTokenizer(change, config).encode('x', options)[0]!;
  const template = (parts: unknown[]) => (json: TokenizerJson) => {
    json.post_processor = {
      type: 'Sequence',
      processors: [
        { type: 'ByteLevel', add_prefix_space: true, trim_offsets: false, use_regex: true },
        { type: 'TemplateProcessing', single: parts, pair: [], special_tokens: {} },
      ],
    };
  };
  const withBos = template([
    { SpecialToken: { id: '<|im_start|>', type_id: 0 } },
    { Sequence: { id: 'A', type_id: 0 } },
  ]);

  test('is added as add_bos_token says, and as the caller says before that', () => {
    expect(first({ ...bos, add_bos_token: true })).toBe(1016);
    expect(first({ ...bos, add_bos_token: false })).not.toBe(1016);
    expect(first({ ...bos, add_bos_token: true }, { addBos: false })).not.toBe(1016);
    expect(first({ ...bos, add_bos_token: false }, { addBos: true })).toBe(1016);
    expect(first(bos)).not.toBe(1016);
  });

  test('is added where the post-processor adds it and the config does not say otherwise', () => {
    expect(first(undefined, {}, withBos)).toBe(1016);
    expect(first({ add_bos_token: false }, {}, withBos)).not.toBe(1016);
  });

  test('a tokenizer without BOS adds none, and says so when asked to', () => {
    expect(first({ add_bos_token: true })).not.toBe(1016);
    expect(() => first({}, { addBos: true })).toThrow(/no BOS token/);
  });
});

describe('added tokens', () => {
  const withTokens = (...tokens: Omit<AddedTokenJson, 'id'>[]) =>
    tinyTokenizer((json) => {
      json.added_tokens = tokens.map((token, i) => ({ ...token, id: 1015 + i }));
    });
  /** The text cut up: added tokens by their id, stretches of text by their decoded text. */
  const cut = (tokenizer: ReturnType<typeof withTokens>, text: string, special?: 'split' | 'plain') => {
    const parts: (number | string)[] = [];
    let stretch: number[] = [];
    const endStretch = () => {
      if (stretch.length > 0) parts.push(tokenizer.decode(stretch));
      stretch = [];
    };
    for (const id of tokenizer.encode(text, { special })) {
      if (id < 1015) stretch.push(id);
      else {
        endStretch();
        parts.push(id);
      }
    }
    endStretch();
    return parts;
  };

  test('the longest token at the leftmost place wins', () => {
    const tokenizer = withTokens({ content: '<a' }, { content: '<a>' }, { content: 'a>b' });
    expect(cut(tokenizer, 'x<a>b<ab')).toEqual(['x', 1016, 'b', 1015, 'b']);
  });

  test('lstrip and rstrip take white space along, as Unicode has it', () => {
    const tokenizer = withTokens({ content: '<l>', lstrip: true }, { content: '<r>', rstrip: true });
    expect(cut(tokenizer, 'a \u0085\u3000<l> b <r> \n\tc\ufeff<l>')).toEqual([
      'a',
      1015,
      ' b ',
      1016,
      'c\ufeff',
      1015,
    ]);
    expect(cut(tokenizer, '<r>  <l>')).toEqual([1016, 1015]);
  });

  test('single_word matches only between characters that are not of words', () => {
    const tokenizer = withTokens({ content: 'cat', single_word: true });
    expect(cut(tokenizer, 'cat cats _cat 𝐚cat (cat) cat')).toEqual([
      1015,
      ' cats _cat 𝐚cat (',
      1015,
      ') ',
      1015,
    ]);
  });

  test('a normalized token is found in any spelling, another only in its own', () => {
    const tokenizer = withTokens(
      { content: 'e\u0301', normalized: true },
      { content: '\u212b', normalized: false },
    );
    expect(cut(tokenizer, 'x\u00e9e\u0301')).toEqual(['x', 1015, 1015]);
    expect(cut(tokenizer, '\u212b\u00c5')).toEqual([1016, '\u00c5']);
  });

  test('text is normalized between added tokens, not across them', () => {
    const tokenizer = withTokens({ content: '<a>', normalized: false });
    expect(cut(tokenizer, 'e\u0301<a>\u0338')).toEqual(['\u00e9', 1015, '\u0338']);
  });

  test('split leaves control tokens as text but knows the others; plain knows none', () => {
    const tokenizer = withTokens({ content: '<|c|>', special: true }, { content: '<t>', special: false });
    expect(cut(tokenizer, 'a<|c|><t>')).toEqual(['a', 1015, 1016]);
    expect(cut(tokenizer, 'a<|c|><t>', 'split')).toEqual(['a<|c|>', 1016]);
    expect(cut(tokenizer, 'a<|c|><t>', 'plain')).toEqual(['a<|c|><t>']);
  });

  test('decode gives added tokens as they are, whatever their characters mean in the byte alphabet', () => {
    const tokenizer = withTokens({ content: 'đem' }, { content: '<｜é｜>', special: true });
    const ids = tokenizer.encode('x đem<｜é｜>');
    expect(tokenizer.decode(ids)).toBe('x đem<｜é｜>');
    expect(tokenizer.decode(ids, { skipSpecial: true })).toBe('x đem');
  });
});

describe('models', () => {
  test('merges written as "a b" and as ["a", "b"] are the same', () => {
    const text = 'What is the capital of France? 123 \n\n  {"answer": "日本"}';
    const asText = tinyTokenizer((json) => {
      json.model.merges = json.model.merges.map((pair) => (pair as string[]).join(' '));
    });
    expect(asText.encode(text)).toEqual(tinyTokenizer().encode(text));
  });

  test('ignore_merges takes a word that is a token as it is', () => {
    const change = (ignore: boolean) => (json: TokenizerJson) => {
      json.model.vocab.zqj = 1030;
      json.model.ignore_merges = ignore;
    };
    expect(Array.from(tinyTokenizer(change(true)).encode('zqj'))).toEqual([1030]);
    expect(tinyTokenizer(change(false)).encode('zqj').length).toBe(3);
  });

  test('plain text never becomes an added token, even one that ignore_merges would find', () => {
    const tokenizer = tinyTokenizer((json) => {
      json.model.vocab.zqj = 1030;
      json.model.ignore_merges = true;
      json.added_tokens.push({ id: 1030, content: 'zqj', special: true });
    });
    expect(Array.from(tokenizer.encode('zqj'))).toEqual([1030]);
    expect(tokenizer.encode('zqj', { special: 'plain' }).length).toBe(3);
  });

  test('a vocabulary token named like a property of objects is a token like any other', () => {
    const tokenizer = tinyTokenizer((json) => {
      const vocab = JSON.parse('{"__proto__": 1030, "constructor": 1031, "__": 1032}');
      json.model.vocab = Object.defineProperties(json.model.vocab, Object.getOwnPropertyDescriptors(vocab));
    });
    expect(tokenizer.tokenToId('__proto__')).toBe(1030);
    expect(tokenizer.idToToken(1031)).toBe('constructor');
    expect(tokenizer.decode([1030, 1031])).toBe('__proto__constructor');
  });

  test('a control token inside the vocabulary, in any script, decodes to itself', () => {
    const tokenizer = tinyTokenizer((json) => Object.assign(json.model.vocab, { 'é｜Ġ': 1030 }));
    expect(tokenizer.decode([1030, 39])).toBe(`é｜Ġ${tokenizer.decode([39])}`);
    expect(tokenizer.tokenToId('é｜Ġ')).toBe(1030);
    expect(tokenizer.idToToken(1030)).toBe('é｜Ġ');
  });

  test('a word of 140,000 characters decodes to itself', () => {
    const tokenizer = tinyTokenizer();
    // Looking at the whole word for each merge would take minutes.
    const word = 'reverse'.repeat(20_000);
    expect(tokenizer.decode(tokenizer.encode(word))).toBe(word);
  });
});

describe('text', () => {
  const tokenizer = tinyTokenizer();

  test('the empty text has no ids, and no ids are the empty text', () => {
    expect(tokenizer.encode('').length).toBe(0);
    expect(tokenizer.decode([])).toBe('');
    expect(tokenizer.createStream().flush()).toBe('');
  });

  test('a lone surrogate counts as U+FFFD', () => {
    expect(tokenizer.encode('a\ud800b')).toEqual(tokenizer.encode('a\ufffdb'));
    expect(tokenizer.encode('\ude00\ud83d')).toEqual(tokenizer.encode('\ufffd\ufffd'));
  });

  test('a leading byte order mark is kept', () => {
    const ids = tokenizer.encode('\ufeffx');
    expect(tokenizer.decode(ids)).toBe('\ufeffx');
    const stream = tokenizer.createStream();
    expect(Array.from(ids, (id) => stream.push(id)).join('')).toBe('\ufeffx');
  });

  test('encode says what it wants when it is given something else', () => {
    expect(() => tokenizer.encode(5 as unknown as string)).toThrow(TokenizerError);
    expect(() => tokenizer.encode('x', { special: 'none' as 'plain' })).toThrow(/"parse", "split", "plain"/);
  });
});
