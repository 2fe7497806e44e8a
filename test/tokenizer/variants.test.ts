/**
 * Tokenizers of other families than the goldens': the tiny tokenizer with other sections, and the ids that the library `tokenizers`
 * (0.22) gives with them.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Tokenizer } from '../../tokenizer/index.ts';
import { tinyJson, tinyTokenizer } from './tiny-json.ts';

interface Variant {
  name: string;
  sections: Record<string, unknown>;
  /** Tokens that the vocabulary lacks, with all merges of them. */
  removed: string[];
  model: Record<string, unknown>;
  rows: [text: string, ids: number[]][];
}

const variants = JSON.parse(
  readFileSync(new URL('../fixtures/tokenizer-variants.json', import.meta.url), 'utf8'),
) as Variant[];

function tokenizerOf({ sections, removed, model }: Variant): Tokenizer {
  const json = tinyJson();
  Object.assign(json, sections);
  // Another text, outside the alphabet of bytes, keeps the place: ids stay what they are.
  const vocab = Object.fromEntries(
    Object.entries(json.model.vocab).map(([token, id]) => [removed.includes(token) ? `一${id}` : token, id]),
  );
  const merges = (json.model.merges as string[][]).filter(([a, b]) =>
    [a!, b!, a! + b!].every((token) => Object.hasOwn(vocab, token)),
  );
  json.model = { ...json.model, ...model, vocab, merges };
  return Tokenizer.fromJSON(json);
}

describe.each(variants)('$name', (variant) => {
  it('gives the ids that tokenizers gives', () => {
    const tokenizer = tokenizerOf(variant);
    for (const [text, ids] of variant.rows) {
      expect(Array.from(tokenizer.encode(text)), JSON.stringify(text)).toEqual(ids);
    }
  });
});

describe('tokenizer_config.json', () => {
  const encode = (config: unknown, text: string, options = {}): number[] =>
    Array.from(tinyTokenizer(() => {}, config).encode(text, options));
  const plain = (text: string): number[] => encode(undefined, text);

  it('adds tokens that tokenizer.json does not have, and its flags win', () => {
    const added = { content: '<|new|>', special: true };
    expect(encode({ added_tokens_decoder: { 1030: added } }, 'a<|new|>b')).toEqual([
      ...plain('a'),
      1030,
      ...plain('b'),
    ]);
    const [id] = plain('<|im_end|>');
    const stripping = { content: '<|im_end|>', special: true, rstrip: true };
    expect(encode({ added_tokens_decoder: { [id!]: stripping } }, '<|im_end|>  b')).toEqual([
      id,
      ...plain('b'),
    ]);
    const text = { content: '<|im_end|>', special: false };
    expect(tinyTokenizer(() => {}, { added_tokens_decoder: { [id!]: text } }).specialIds.has(id!)).toBe(
      false,
    );
  });

  it('may not give a token the id of another', () => {
    expect(() => encode({ added_tokens_decoder: { 5: { content: '<|new|>' } } }, 'a')).toThrow(
      /the id 5 stands for/,
    );
  });

  it('may name a padding token that is not there, since nothing is padded', () => {
    const tokenizer = tinyTokenizer(() => {}, { pad_token: '<|pad|>' });
    expect([tokenizer.padToken, tokenizer.padTokenId]).toEqual([undefined, undefined]);
    expect(tinyTokenizer(() => {}, { pad_token: '<|im_end|>' }).padTokenId).toBe(plain('<|im_end|>')[0]);
  });

  it('puts EOS behind a text where add_eos_token says so, or the caller', () => {
    const [eos] = plain('<|im_end|>');
    const config = { eos_token: '<|im_end|>' };
    expect(encode({ ...config, add_eos_token: true }, 'a')).toEqual([...plain('a'), eos]);
    expect(encode({ ...config, add_eos_token: false }, 'a')).toEqual(plain('a'));
    expect(encode(config, 'a', { addEos: true })).toEqual([...plain('a'), eos]);
    // Rendered chats have their own.
    expect(encode({ ...config, add_eos_token: true }, 'a', { addBos: false })).toEqual(plain('a'));
    expect(() => encode({}, 'a', { addEos: true })).toThrow(/no EOS token/);
  });
});

it('a text that a pattern would drop is an error, not shorter', () => {
  const tokenizer = tinyTokenizer((json) => {
    json.pre_tokenizer.pretokenizers[0] = {
      type: 'Split',
      pattern: { Regex: '\\p{L}+' },
      behavior: 'Removed',
      invert: true,
    };
  });
  expect(Array.from(tokenizer.encode('abc')).length).toBeGreaterThan(0);
  expect(() => tokenizer.encode('abc 12')).toThrow(/drops what its pattern does not match.*" 12"/);
});
