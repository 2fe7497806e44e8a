/**
 * Tokenizers of SentencePiece's kind: a small vocabulary that SentencePiece has trained (0.2, BPE with byte fallback), its conversion to
 * tokenizer.json with the sections of many families, and what the libraries `tokenizers` (0.22) and `sentencepiece` give with them.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Tokenizer } from '../../tokenizer/index.ts';

/** The number of a text; its ids; what they decode to, null where that is the text; and without control tokens, null where that is the same. */
type Row = [text: number, ids: number[], decoded: string | null, withoutSpecial?: string | null];

interface Fixture {
  pieces: string[];
  scores: number[];
  merges: string[];
  texts: string[];
  variants: {
    name: string;
    sections: Record<string, unknown>;
    model: Record<string, unknown>;
    /** Tokens that the vocabulary lacks, with all merges of them. */
    removed: string[];
    rows: Row[];
  }[];
  sentencepiece: { name: string; prefix: boolean; scores: number[] | null; rows: Row[] }[];
  bytes: [ids: number[], text: string][];
}

const fixture = JSON.parse(
  readFileSync(new URL('../fixtures/tokenizer-pieces.json', import.meta.url), 'utf8'),
) as Fixture;
const { pieces, texts, variants } = fixture;

const MODEL = { type: 'BPE', unk_token: '<unk>', fuse_unk: true, byte_fallback: true };
/** As Llama 2 has them. */
const { sections: LLAMA } = variants[0]!;

function variantJson({ sections, model, removed }: Fixture['variants'][number]): unknown {
  const vocab = Object.fromEntries(
    // Another text keeps the place: ids stay what they are.
    pieces.map((piece, id) => [removed.includes(piece) ? `\ue000${id}` : piece, id]),
  );
  const merges = fixture.merges.filter((merge) => {
    const [left, right] = merge.split(' ') as [string, string];
    return [left, right, left + right].every((token) => Object.hasOwn(vocab, token));
  });
  return { ...sections, model: { ...MODEL, vocab, merges, ...model } };
}

/** The vocabulary with scores in place of merges, as GGUF has it. */
function scoredJson(scores: readonly number[] = fixture.scores, sections = {}, more: string[] = []): unknown {
  const vocab = Object.fromEntries([...pieces, ...more].map((piece, id) => [piece, id]));
  return { ...LLAMA, post_processor: null, ...sections, model: { ...MODEL, vocab, scores } };
}

const REPLACE = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };

function streamed(tokenizer: Tokenizer, ids: readonly number[], skipSpecial = false): string {
  const stream = tokenizer.createStream({ skipSpecial });
  return ids.map((id) => stream.push(id)).join('') + stream.flush();
}

describe.each(variants)('$name', (variant) => {
  it('gives the ids and the texts that tokenizers gives, as a whole and as a stream', async () => {
    const tokenizer = await Tokenizer.load(variantJson(variant));
    for (const [number, ids, ...decoded] of variant.rows) {
      const text = texts[number]!;
      const name = JSON.stringify(text);
      expect(Array.from(tokenizer.encode(text)), name).toEqual(ids);
      const wanted = decoded[0] ?? text;
      const withoutSpecial = decoded[1] ?? wanted;
      expect(tokenizer.decode(ids), name).toBe(wanted);
      expect(tokenizer.decode(ids, { skipSpecial: true }), name).toBe(withoutSpecial);
      expect(streamed(tokenizer, ids), name).toBe(wanted);
      expect(streamed(tokenizer, ids, true), name).toBe(withoutSpecial);
    }
  });
});

describe.each(fixture.sentencepiece)('scores: $name', ({ prefix, scores, rows }) => {
  it('gives the ids and the texts that SentencePiece gives', async () => {
    const sections = prefix ? {} : { normalizer: REPLACE, decoder: variants[6]!.sections.decoder };
    const tokenizer = await Tokenizer.load(scoredJson(scores ?? undefined, sections));
    for (const [number, ids, decoded] of rows) {
      const text = texts[number]!;
      // There the space is put before the text only, and here before each stretch between the user's own tokens.
      if (prefix && /<sep>|\[x\]|▁{4}| {4}/.test(text)) continue;
      // As there, control tokens are text.
      expect(Array.from(tokenizer.encode(text, { special: 'split' })), JSON.stringify(text)).toEqual(ids);
      expect(tokenizer.decode(ids), JSON.stringify(text)).toBe(decoded ?? text);
    }
  });
});

it('decodes any tokens of bytes as SentencePiece does, each byte that is no UTF-8 to U+FFFD, as a whole and as a stream', async () => {
  const tokenizer = await Tokenizer.load(scoredJson());
  for (const [ids, text] of fixture.bytes) {
    expect(tokenizer.decode(ids), ids.join()).toBe(text);
    expect(streamed(tokenizer, ids), ids.join()).toBe(text);
  }
});

it('streams a character when its last byte has come, and what can be none at once', async () => {
  const tokenizer = await Tokenizer.load(scoredJson());
  const bytes = (...values: number[]): number[] =>
    values.map((byte) => pieces.indexOf(`<0x${byte.toString(16).toUpperCase()}>`));
  const stream = tokenizer.createStream();
  const ids = [
    ...tokenizer.encode('a'),
    ...bytes(0xf0, 0x9f, 0x98, 0x80, 0xe2, 0x82, 0xf0),
    ...tokenizer.encode('a'),
  ];
  expect(ids.map((id) => stream.push(id))).toEqual([
    'a',
    '',
    '',
    '',
    '😀',
    '',
    '',
    '\ufffd\ufffd',
    '\ufffd a',
  ]);
  expect([stream.push(bytes(0xe2)[0]!), stream.flush()]).toEqual(['', '\ufffd']);
  // After flush another text begins.
  expect(stream.push(tokenizer.encode('a')[0]!)).toBe('a');
});

describe('tokens', () => {
  it('are found by the text of tokenizer.json, and stand for the bytes of a text', async () => {
    const tokenizer = await Tokenizer.load(scoredJson());
    for (const [id, piece] of pieces.entries()) {
      expect(tokenizer.tokenToId(piece)).toBe(id);
      expect(tokenizer.idToToken(id)).toBe(piece);
    }
    expect(tokenizer.tokenToId('no such token')).toBeUndefined();
    for (const id of [pieces.length, -1, 0.5, Number.NaN]) expect(tokenizer.idToToken(id)).toBeUndefined();
    const bytesOf = (token: string): number[] | undefined => {
      const bytes = tokenizer.bytesOf(pieces.indexOf(token));
      return bytes && Array.from(bytes);
    };
    expect(bytesOf('▁to')).toEqual(Array.from(new TextEncoder().encode(' to')));
    expect(bytesOf('<0xE2>')).toEqual([0xe2]);
    expect(bytesOf('<s>')).toBeUndefined();
    expect(tokenizer.vocabSize).toBe(pieces.length);
  });

  it('that control are never made from plain text, by merges or by scores', async () => {
    // Pieces with which `<s>` can be merged, and a score above all others.
    const scores = [...fixture.scores, 1, 1];
    scores[1] = 2;
    for (const json of [
      scoredJson(scores, {}, ['<s', '/s>']),
      {
        ...LLAMA,
        model: {
          ...MODEL,
          vocab: Object.fromEntries([...pieces, '<s', '/s>'].map((piece, id) => [piece, id])),
          merges: ['< s', '<s >', '< /s>'],
        },
      },
    ]) {
      const ids = Array.from(
        (await Tokenizer.load(json)).encode('<s></s>', { special: 'plain', addBos: false }),
      );
      expect(ids).toContain(pieces.length);
      expect(ids.some((id) => id < 3)).toBe(false);
    }
  });
});

describe('what is not supported is refused by the name of its field', () => {
  const refused: [name: string, change: Record<string, unknown>, message: RegExp][] = [
    ['another model', { model: { type: 'Unigram' } }, /model\.type is "Unigram"; supported: "BPE"/],
    [
      'scores that are none',
      { model: { ...MODEL, vocab: { '<unk>': 0 }, scores: ['x'] } },
      /model\.scores\[0\] is "x"/,
    ],
    [
      'too few scores',
      { model: { ...MODEL, vocab: { a: 0, '<unk>': 1 }, scores: [0] } },
      /model\.scores has 1 scores for ids up to 1/,
    ],
    [
      'a token whose character is none',
      { model: { ...MODEL, vocab: { '<unk>': 3, a: 4, ab: 5 }, scores: [0, 0, 0, 0, 0, 0] } },
      /model\.vocab has "ab", but not its character "b"/,
    ],
    [
      'no unknown token',
      { model: { ...MODEL, vocab: { a: 3 }, merges: [] } },
      /model\.unk_token is "<unk>"; supported: a token of model\.vocab/,
    ],
    [
      'a normalizer',
      { normalizer: { type: 'Lowercase' } },
      /normalizer\.type is "Lowercase"; supported: Prepend, Replace/,
    ],
    [
      'a normalizer that makes texts huge',
      {
        normalizer: {
          type: 'Sequence',
          normalizers: Array(11).fill({ type: 'Replace', pattern: { String: 'a' }, content: 'aa' }),
        },
      },
      /normalizer can make a text 2048 times as long/,
    ],
    [
      'a huge prefix',
      { normalizer: { type: 'Prepend', prepend: 'a'.repeat(2000) } },
      /normalizer\.prepend is .*at most 1024/,
    ],
    [
      'an empty pattern',
      { normalizer: { ...REPLACE, pattern: { String: '' } } },
      /normalizer\.pattern\.String is ""/,
    ],
    [
      'a pre-tokenizer',
      { pre_tokenizer: { type: 'Whitespace' } },
      /pre_tokenizer\.type is "Whitespace"; supported: "Metaspace"/,
    ],
    [
      'options that contradict',
      {
        pre_tokenizer: {
          type: 'Metaspace',
          replacement: '▁',
          prepend_scheme: 'first',
          add_prefix_space: false,
        },
      },
      /add_prefix_space is false/,
    ],
    [
      'an unknown scheme',
      { pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'last' } },
      /prepend_scheme is "last"/,
    ],
    ['no decoder', { decoder: null }, /decoder is null; supported: "Metaspace"/],
    ['another decoder', { decoder: { type: 'WordPiece' } }, /decoder\.type is "WordPiece"/],
    [
      'a decoder that strips the end',
      {
        decoder: {
          type: 'Sequence',
          decoders: [{ type: 'Fuse' }, { type: 'Strip', content: ' ', start: 0, stop: 1 }],
        },
      },
      /decoders\[1\]\.stop is 1; supported: 0/,
    ],
    [
      'a decoder that strips each token',
      { decoder: { type: 'Strip', content: ' ', start: 1, stop: 0 } },
      /decoder\.type is "Strip"/,
    ],
  ];
  it.each(refused)('%s', async (_name, change, message) => {
    const json = { ...(scoredJson() as Record<string, unknown>), added_tokens: [], ...change };
    await expect(Tokenizer.load(json)).rejects.toThrow(message);
    await expect(Tokenizer.load(json)).rejects.toThrow(/^tokenizer\.json: /);
  });
});
