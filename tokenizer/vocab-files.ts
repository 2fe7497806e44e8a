/**
 * @file The tokenizer.json that stands for the files of checkpoints that have none: vocab.json, merges.txt, tokenizer_config.json and
 * perhaps added_tokens.json. Knows the classes that publish such files, as transformers converts them (convert_slow_tokenizer.py).
 */
import { TokenizerError } from './errors.ts';
import { describe, isId, type JsonObject, readArray, readBoolean, readObject, readString } from './json.ts';

export interface VocabFiles {
  /** vocab.json and added_tokens.json, parsed; the latter may be missing. */
  readonly vocab: unknown;
  readonly addedTokens?: unknown;
  /** merges.txt. */
  readonly merges: string;
}

const QWEN2_PATTERN =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** What tokenizer.json has beside the vocabulary, by the class that tokenizer_config.json names. */
const CLASSES: Readonly<Record<string, (addPrefixSpace: boolean) => JsonObject>> = {
  Qwen2Tokenizer: (addPrefixSpace) => ({
    normalizer: { type: 'NFC' },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: QWEN2_PATTERN }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: addPrefixSpace, use_regex: false },
      ],
    },
  }),
  GPT2Tokenizer: (addPrefixSpace) => ({
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: addPrefixSpace, use_regex: true },
  }),
};

/** Keys of tokenizer_config.json that hold tokens which are special wherever they stand. */
const SPECIAL_KEYS = [
  'bos_token',
  'eos_token',
  'unk_token',
  'sep_token',
  'pad_token',
  'cls_token',
  'mask_token',
];

/** @throws TokenizerError naming the file and what is malformed or not supported in it */
export function tokenizerJsonOf(
  { vocab, merges, addedTokens }: VocabFiles,
  tokenizerConfig: unknown,
): JsonObject {
  const config = readObject(tokenizerConfig ?? {}, 'tokenizer_config.json');
  const { tokenizer_class: named } = config;
  const kind = typeof named === 'string' ? named.replace(/Fast$/, '') : '';
  if (!Object.hasOwn(CLASSES, kind)) {
    throw new TokenizerError(
      `tokenizer_config.json: tokenizer_class is ${describe(named)}, and there is no tokenizer.json that would tell how it works; supported with ` +
        `vocab.json and merges.txt: ${Object.keys(CLASSES).join(', ')}. Save it with a fast tokenizer of transformers, which writes tokenizer.json.`,
    );
  }
  const words = readObject(vocab, 'vocab.json');
  const isPrefixed = readBoolean(config.add_prefix_space, 'tokenizer_config.json: add_prefix_space', false);
  return {
    ...CLASSES[kind]!(isPrefixed),
    added_tokens: addedTokensOf(config, words, readObject(addedTokens ?? {}, 'added_tokens.json')),
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', vocab: words, merges: rulesOf(merges) },
  };
}

/** A rule on each line, best first; the first line may tell a version. */
function rulesOf(merges: string): string[] {
  const lines = merges.split('\n').map((line) => line.trim());
  return lines.filter((line, i) => line !== '' && !(i === 0 && line.startsWith('#version')));
}

/**
 * Special tokens that are words of the vocabulary, and all of added_tokens.json; those of `added_tokens_decoder` the tokenizer adds
 * itself, and their flags win.
 */
function addedTokensOf(config: JsonObject, vocab: JsonObject, added: JsonObject): JsonObject[] {
  const more = readArray(
    config.additional_special_tokens ?? [],
    'tokenizer_config.json: additional_special_tokens',
  );
  const special = new Set(
    [...SPECIAL_KEYS.map((key) => config[key]), ...more]
      .filter((token) => token !== undefined && token !== null)
      .map((token) =>
        typeof token === 'string'
          ? token
          : readString(readObject(token, 'tokenizer_config.json: a special token').content, 'its content'),
      ),
  );
  const tokens = new Map<string, JsonObject>();
  const add = (content: string, id: unknown, isSpecial: boolean): void => {
    if (!isId(id))
      throw new TokenizerError(
        `the token ${describe(content)} has the id ${describe(id)}; supported: whole numbers`,
      );
    tokens.set(content, { id, content, special: isSpecial, normalized: !isSpecial });
  };
  for (const content of special) if (Object.hasOwn(vocab, content)) add(content, vocab[content], true);
  for (const [content, id] of Object.entries(added)) add(content, id, special.has(content));
  return [...tokens.values()];
}
