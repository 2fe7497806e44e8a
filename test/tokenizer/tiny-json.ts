/** @file The tokenizer.json of the embedded tiny model (1,024 tokens, Qwen's pre-tokenizer), as a base for variations. */
import { readFileSync } from 'node:fs';
import { Tokenizer } from '../../tokenizer/index.ts';

const FOLDER = new URL('../../examples/models/tiny-qwen3/', import.meta.url);
const source = readFileSync(new URL('tokenizer.json', FOLDER), 'utf8');

export interface AddedTokenJson {
  id: number;
  content: string;
  single_word?: boolean;
  lstrip?: boolean;
  rstrip?: boolean;
  normalized?: boolean;
  special?: boolean;
}

/** What tests change in tokenizer.json. */
export interface TokenizerJson {
  added_tokens: AddedTokenJson[];
  normalizer: unknown;
  pre_tokenizer: { type: string; pretokenizers: Record<string, unknown>[] };
  post_processor: unknown;
  decoder: unknown;
  model: { vocab: Record<string, number>; merges: unknown[] } & Record<string, unknown>;
}

/** A fresh copy, to be changed at will. */
export const tinyJson = (): TokenizerJson => JSON.parse(source);

/**
 * The tiny tokenizer with changes made by `change`. Where they leave other ids to be the next ones after model.vocab, the added tokens
 * keep theirs by standing in model.vocab too.
 */
export function tinyTokenizer(change: (json: TokenizerJson) => void = () => {}, config?: unknown): Tokenizer {
  const json = tinyJson();
  change(json);
  const { vocab } = json.model ?? {};
  if (vocab && Array.isArray(json.added_tokens)) {
    const isNext = json.added_tokens.every(({ id }, i) => id === Object.keys(vocab).length + i);
    for (const { content, id } of isNext ? [] : json.added_tokens) {
      if (!Object.hasOwn(vocab, content))
        Object.defineProperty(vocab, content, { value: id, enumerable: true });
    }
  }
  return Tokenizer.fromJSON(json, config);
}
