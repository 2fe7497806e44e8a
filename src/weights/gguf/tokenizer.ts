/**
 * @file The tokenizer of a GGUF file, in the words of tokenizer.json and tokenizer_config.json, and what generation_config.json would
 * say. It must not know how text is tokenized.
 * Source: llama.cpp, src/llama-vocab.cpp.
 */
import { CorruptCheckpointError, UnsupportedConfigError } from '../../errors.ts';
import { quoted } from '../json.ts';
import { idOf, shortest } from './config.ts';
import type { Metadata, MetadataValue } from './container.ts';
import { preTokenizerOf } from './pre-tokenizers.ts';

type Json = Record<string, unknown>;

export interface TokenizerFiles {
  readonly tokenizer: Json;
  readonly tokenizerConfig: Json;
  readonly generationConfig: Json;
}

/** llama.cpp's numbers of what a token is. */
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;

/** Tokens that end an answer, whatever ids the file names. */
const ENDS = [
  '<|im_end|>',
  '<|endoftext|>',
  '<|eot_id|>',
  '<|eom_id|>',
  '<|end_of_text|>',
  '<|end|>',
  '<end_of_turn>',
  '<|return|>',
  '<｜end▁of▁sentence｜>',
];

/**
 * @throws CorruptCheckpointError when the lists contradict each other
 * @throws UnsupportedConfigError for a kind of tokenizer that is not read
 */
export function tokenizerFilesOf(metadata: Metadata, where: string): TokenizerFiles {
  const tokens = list<string>(metadata, 'tokens', 'string', where);
  if (!tokens)
    throw new CorruptCheckpointError(`${where}: it has no tokenizer.ggml.tokens. Download it again.`);
  const types = list<number>(metadata, 'token_type', 'number', where) ?? tokens.map(() => 1);
  if (types.length !== tokens.length) {
    throw new CorruptCheckpointError(
      `${where}: tokenizer.ggml.token_type has ${types.length} values for ${tokens.length} tokens. Download it again.`,
    );
  }
  const model = metadata.get('tokenizer.ggml.model');
  const vocabulary: Vocabulary = { tokens, types };
  if (model === 'gpt2') return files(metadata, vocabulary, byteLevel(metadata, vocabulary, where));
  if (model === 'llama') return files(metadata, vocabulary, sentencePiece(metadata, vocabulary, where));
  throw new UnsupportedConfigError(
    `${where}: tokenizer.ggml.model is ${quoted(String(model))}; what is read is gpt2 (byte-level BPE) and llama (SentencePiece). Choose a model with one of these.`,
  );
}

interface Vocabulary {
  readonly tokens: readonly string[];
  /** Of each token. */
  readonly types: readonly number[];
}

/** What kinds of tokenizers do differently. */
interface Kind {
  readonly json: Json;
  readonly addsBos: boolean;
}

/** A list of the metadata, undefined where there is none. @throws CorruptCheckpointError when it holds anything else */
function list<T extends string | number>(
  metadata: Metadata,
  name: string,
  type: 'string' | 'number',
  where: string,
): T[] | undefined {
  const found = metadata.get(`tokenizer.ggml.${name}`);
  if (found === undefined) return undefined;
  const isOfType = (value: MetadataValue): boolean =>
    type === 'string' ? typeof value === 'string' : typeof value === 'number';
  if (Array.isArray(found) && found.every(isOfType)) return found as T[];
  throw new CorruptCheckpointError(
    `${where}: tokenizer.ggml.${name} is no list of ${type}s. Download the file again.`,
  );
}

/** Tokens that are found in text as they are. The others are made by merging. */
function addedTokens({ tokens, types }: Vocabulary): Json[] {
  return tokens.flatMap((content, id) => {
    const type = types[id];
    if (type !== CONTROL && type !== USER_DEFINED && type !== UNKNOWN) return [];
    const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
    return content === '' ? [] : [{ id, content, ...flags, special: type !== USER_DEFINED }];
  });
}

/** Every token by its text: those that are found as they are merging does not make. */
function idsOf({ tokens }: Vocabulary): Record<string, number> {
  const ids: Record<string, number> = Object.create(null);
  tokens.forEach((token, id) => {
    if (token !== '') ids[token] = id;
  });
  return ids;
}

function byteLevel(metadata: Metadata, vocabulary: Vocabulary, where: string): Kind {
  const merges = list<string>(metadata, 'merges', 'string', where);
  if (!merges)
    throw new CorruptCheckpointError(`${where}: it has no tokenizer.ggml.merges. Download it again.`);
  const pre = metadata.get('tokenizer.ggml.pre') ?? 'default';
  const { steps, normalizer, ignoresMerges = false, addsBos = false } = preTokenizerOf(String(pre), where);
  return {
    addsBos,
    json: {
      normalizer: normalizer ?? null,
      pre_tokenizer: { type: 'Sequence', pretokenizers: steps },
      post_processor: null,
      decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: 'BPE',
        vocab: idsOf(vocabulary),
        // The first space behind the first character parts the two, of which each may begin with one.
        merges: merges.map((pair) => {
          const at = pair.indexOf(' ', 1);
          if (at < 0) throw noPair(pair, where);
          return [pair.slice(0, at), pair.slice(at + 1)];
        }),
        ignore_merges: ignoresMerges,
      },
    },
  };
}

const noPair = (pair: string, where: string): CorruptCheckpointError =>
  new CorruptCheckpointError(
    `${where}: tokenizer.ggml.merges has ${quoted(pair)}, wanted two parts with a space between them. Download the file again.`,
  );

function sentencePiece(metadata: Metadata, vocabulary: Vocabulary, where: string): Kind {
  const scores = list<number>(metadata, 'scores', 'number', where);
  if (scores?.length !== vocabulary.tokens.length) {
    throw new CorruptCheckpointError(
      `${where}: tokenizer.ggml.scores has ${scores?.length ?? 'no'} values for ${vocabulary.tokens.length} tokens. Download the file again.`,
    );
  }
  const unknown = vocabulary.types.indexOf(UNKNOWN);
  const prefix = metadata.get('tokenizer.ggml.add_space_prefix') !== false;
  const replace = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
  return {
    addsBos: true,
    json: {
      normalizer: {
        type: 'Sequence',
        normalizers: prefix ? [{ type: 'Prepend', prepend: '▁' }, replace] : [replace],
      },
      pre_tokenizer: null,
      post_processor: null,
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
          { type: 'ByteFallback' },
          { type: 'Fuse' },
          ...(prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
        ],
      },
      model: {
        type: 'BPE',
        vocab: idsOf(vocabulary),
        scores,
        unk_token: vocabulary.tokens[unknown] ?? null,
        fuse_unk: true,
        byte_fallback: true,
      },
    },
  };
}

function files(metadata: Metadata, vocabulary: Vocabulary, { json, addsBos }: Kind): TokenizerFiles {
  const { tokens } = vocabulary;
  const text = (name: string): string | undefined => tokens[idOf(metadata, name) ?? -1];
  const flag = (name: string): unknown => metadata.get(`tokenizer.ggml.${name}`);
  const bos = text('bos');
  const ends = ['eos', 'eot', 'eom'].map((name) => idOf(metadata, name));
  const ids = new Map(tokens.map((token, id) => [token, id]));
  return {
    tokenizer: { version: '1.0', added_tokens: addedTokens(vocabulary), ...json },
    tokenizerConfig: {
      ...(bos !== undefined && { bos_token: bos }),
      ...(text('eos') !== undefined && { eos_token: text('eos') }),
      ...(text('padding') !== undefined && { pad_token: text('padding') }),
      add_bos_token: bos !== undefined && (flag('add_bos_token') ?? addsBos) === true,
      add_eos_token: flag('add_eos_token') === true,
      ...chatTemplates(metadata),
    },
    generationConfig: {
      eos_token_id: [...new Set([...ends, ...ENDS.map((token) => ids.get(token))])].filter(
        (id) => id !== undefined && id < tokens.length,
      ),
      ...sampling(metadata),
    },
  };
}

function chatTemplates(metadata: Metadata): Json {
  const main = metadata.get('tokenizer.chat_template');
  const names = metadata.get('tokenizer.chat_templates');
  const named = (Array.isArray(names) ? names : []).flatMap((name) => {
    const template = metadata.get(`tokenizer.chat_template.${String(name)}`);
    return typeof template === 'string' ? [{ name: String(name), template }] : [];
  });
  if (typeof main !== 'string') return named.length > 0 ? { chat_template: named } : {};
  return { chat_template: named.length > 0 ? [{ name: 'default', template: main }, ...named] : main };
}

/** What the publisher advises, by the names of generation_config.json. */
const SAMPLING: Readonly<Record<string, string>> = {
  temp: 'temperature',
  top_k: 'top_k',
  top_p: 'top_p',
  min_p: 'min_p',
  penalty_repeat: 'repetition_penalty',
};

function sampling(metadata: Metadata): Json {
  const found = Object.entries(SAMPLING).flatMap(([name, key]) => {
    const value = metadata.get(`general.sampling.${name}`);
    return typeof value === 'number' ? [[key, shortest(value)] as const] : [];
  });
  return found.length > 0 ? { do_sample: true, ...Object.fromEntries(found) } : {};
}
