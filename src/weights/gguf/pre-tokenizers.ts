/**
 * @file How text is cut into words, by the names that GGUF files have for it (`tokenizer.ggml.pre`), as the `pre_tokenizer` of a
 * tokenizer.json.
 * Source: llama.cpp, src/llama-vocab.cpp (names), and the tokenizer.json files that they stand for (patterns).
 */
import { UnsupportedConfigError } from '../../errors.ts';
import { quoted } from '../json.ts';

type Json = Readonly<Record<string, unknown>>;

export interface PreTokenizer {
  readonly steps: readonly Json[];
  readonly normalizer?: Json;
  /** A word that is a token is not merged again. */
  readonly ignoresMerges?: boolean;
  /** BOS comes before a text where the file does not say. */
  readonly addsBos?: boolean;
}

const split = (pattern: string): Json => ({
  type: 'Split',
  pattern: { Regex: pattern },
  behavior: 'Isolated',
  invert: false,
});
const byteLevel = (use_regex: boolean): Json => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex,
});
const NFC: Json = { type: 'NFC' };
const SUFFIXES = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const REST = String.raw` ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const REST_WITH_SLASH = String.raw` ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
/** Letters that may begin a word of mixed case, and those that may go on. */
const [UPPER, LOWER] = [String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`, String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`];
const cased = (end: string): string =>
  String.raw`[^\r\n\p{L}\p{N}]?${UPPER}*${LOWER}+${end}|[^\r\n\p{L}\p{N}]?${UPPER}+${LOWER}*${end}`;

const gpt2: PreTokenizer = { steps: [byteLevel(true)] };
const digitsApart: PreTokenizer = {
  steps: [{ type: 'Digits', individual_digits: true }, byteLevel(true)],
};
const words = (numbers: string): readonly Json[] => [
  split(String.raw`${SUFFIXES}|[^\r\n\p{L}\p{N}]?\p{L}+|${numbers}|${REST}`),
  byteLevel(false),
];
const qwen2: PreTokenizer = { steps: words(String.raw`\p{N}`), normalizer: NFC };
const llama3: PreTokenizer = { steps: words(String.raw`\p{N}{1,3}`), ignoresMerges: true, addsBos: true };

/** By name. */
export const PRE_TOKENIZERS: Readonly<Record<string, PreTokenizer>> = {
  qwen2,
  // Distilled into Qwen's models with a tokenizer.json of its own, which has no normalizer.
  'deepseek-r1-qwen': { steps: qwen2.steps },
  megrez: qwen2,
  qwen35: {
    steps: [
      split(
        String.raw`${SUFFIXES}|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
      ),
      byteLevel(false),
    ],
    normalizer: NFC,
  },
  'llama-bpe': llama3,
  llama3,
  'llama-v3': llama3,
  falcon3: llama3,
  'deepseek-v3': {
    steps: [
      split(String.raw`\p{N}{1,3}`),
      split('[一-龥\u3040-ゟ゠-ヿ]+'),
      split(
        '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+',
      ),
      byteLevel(false),
    ],
  },
  tekken: {
    steps: [split(String.raw`${cased('')}|\p{N}|${REST_WITH_SLASH}`), byteLevel(false)],
    ignoresMerges: true,
    addsBos: true,
  },
  'gpt-4o': {
    steps: [split(String.raw`${cased(`${SUFFIXES}?`)}|\p{N}{1,3}|${REST_WITH_SLASH}`), byteLevel(false)],
  },
  'gpt-2': gpt2,
  'phi-2': gpt2,
  exaone4: gpt2,
  mellum: gpt2,
  smollm: digitsApart,
  refact: digitsApart,
  starcoder: digitsApart,
  codeshell: digitsApart,
  'command-r': digitsApart,
  default: {
    steps: [
      split(String.raw`[\p{P}$+<=>\^~|]+`),
      split(String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)`),
      split(String.raw`\p{N}+`),
      split('[0-9][0-9][0-9]'),
      byteLevel(false),
    ],
  },
};

/** @throws UnsupportedConfigError for a name that is not known */
export function preTokenizerOf(name: string, where: string): PreTokenizer {
  const found = Object.hasOwn(PRE_TOKENIZERS, name) ? PRE_TOKENIZERS[name] : undefined;
  if (found) return found;
  throw new UnsupportedConfigError(
    `${where}: tokenizer.ggml.pre is ${quoted(name)}; what is read is ${Object.keys(PRE_TOKENIZERS).join(', ')}. Choose a file with one of these.`,
  );
}
