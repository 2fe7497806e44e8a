/**
 * @file The tokenizer that users see: text -> ids and ids -> text, from a Hugging Face tokenizer.json of the byte-level BPE
 * kind (Qwen, DeepSeek and relatives). Knows nothing of chat templates or models.
 */
import { type AddedToken, AddedTokenFinder, mergeAddedTokens, readAddedTokens } from './added-tokens.ts';
import { BpeModel } from './bpe.ts';
import { readTemplate, readTokenizerConfig, type TemplateTokens, type TokenizerConfig } from './config.ts';
import { TokenizerError } from './errors.ts';
import { IdList } from './id-list.ts';
import { describe, isId, readObject, readSteps, rejectUnknownKeys, unsupported } from './json.ts';
import { type Normalizer, readNormalizer, toWellFormed } from './normalize.ts';
import { readPreTokenizer } from './pretokenize.ts';
import type { Splitter } from './scanners.ts';
import { DecodeStream } from './stream.ts';
import { decodeUtf8 } from './utf8.ts';
import { COPY_SLACK } from './vocabulary.ts';

/**
 * What happens to added tokens in a text:
 * - `parse`: each becomes its id (the default of Hugging Face). For text that is trusted, such as a rendered chat.
 * - `split`: only those that are not special do (`<think>`); control tokens (`<|im_end|>`) are split like other text.
 * - `plain`: none does; all is text. For text from users that must not act as control tokens.
 */
export type SpecialMode = 'parse' | 'split' | 'plain';

export interface EncodeOptions {
  /** Default `parse`. */
  readonly special?: SpecialMode;
  /**
   * Puts the BOS token before the text. Default: what tokenizer_config.json says (`add_bos_token`), else whether
   * tokenizer.json's post-processor does. Chat templates print BOS themselves: encode rendered chats with false.
   */
  readonly addBos?: boolean;
  /**
   * Puts the EOS token, or the one that tokenizer.json's post-processor has there, behind the text. Default: what tokenizer_config.json says
   * (`add_eos_token`), else whether the post-processor does; false where addBos is.
   */
  readonly addEos?: boolean;
}

export interface DecodeOptions {
  /** Drops control tokens (added tokens that are special). Default false. */
  readonly skipSpecial?: boolean;
}

const WANTED: Readonly<Record<SpecialMode, (token: AddedToken) => boolean>> = {
  parse: () => true,
  split: (token) => !token.special,
  plain: () => false,
};

/** As messages name it. */
const TEMPLATE = "a token of tokenizer.json's post_processor";

/** The sections of tokenizer.json, parsed. */
interface Parts {
  readonly model: BpeModel;
  readonly addedTokens: readonly AddedToken[];
  readonly normalize: Normalizer;
  readonly split: Splitter;
  readonly template: TemplateTokens;
}

export class Tokenizer {
  /** One more than the highest id. */
  readonly vocabSize: number;
  /** All added tokens, in the order of the file. */
  readonly addedTokens: readonly AddedToken[];
  /** The ids of the control tokens: added tokens that are special. */
  readonly specialIds: ReadonlySet<number>;
  readonly bosToken: string | undefined;
  readonly bosTokenId: number | undefined;
  readonly eosToken: string | undefined;
  readonly eosTokenId: number | undefined;
  readonly padToken: string | undefined;
  readonly padTokenId: number | undefined;

  private readonly model: BpeModel;
  private readonly normalize: Normalizer;
  private readonly splitIntoWords: Splitter;
  private readonly addBosByDefault: boolean;
  private readonly addEosByDefault: boolean;
  /** What is put behind a text. */
  private readonly finalId: number | undefined;
  /** Finders for the added tokens that are searched in the text as given, and for those searched after normalization. */
  private readonly rawTokens: AddedTokenFinder;
  private readonly normalizedTokens: AddedTokenFinder;

  /**
   * @param tokenizerJson tokenizer.json, parsed. It is not kept.
   * @param tokenizerConfig tokenizer_config.json, parsed, if there is one.
   * @throws TokenizerError naming the field that is malformed or not supported.
   */
  static fromJSON(tokenizerJson: unknown, tokenizerConfig?: unknown): Tokenizer {
    const config = inFile('tokenizer_config.json', () => readTokenizerConfig(tokenizerConfig));
    const parts = inFile('tokenizer.json', () => readTokenizer(tokenizerJson, config.addedTokens));
    return inFile('tokenizer_config.json', () => new Tokenizer(parts, config));
  }

  private constructor(parts: Parts, config: TokenizerConfig) {
    this.model = parts.model;
    this.normalize = parts.normalize;
    this.splitIntoWords = parts.split;
    this.addedTokens = parts.addedTokens;
    this.vocabSize = parts.model.vocabulary.size;
    this.specialIds = new Set(parts.addedTokens.filter((token) => token.special).map((token) => token.id));
    this.rawTokens = new AddedTokenFinder(
      parts.addedTokens.filter((token) => !token.normalized),
      (text) => text,
    );
    this.normalizedTokens = new AddedTokenFinder(
      parts.addedTokens.filter((token) => token.normalized),
      parts.normalize,
    );
    const { template } = parts;
    const bosToken = config.bosToken ?? template.before;
    this.bosToken = bosToken;
    this.bosTokenId = this.idOf(bosToken, config.bosToken ? 'bos_token' : TEMPLATE);
    this.eosToken = config.eosToken;
    this.eosTokenId = this.idOf(config.eosToken, 'eos_token');
    // One text is never padded, so a padding token that is not there does no harm.
    this.padTokenId = config.padToken === undefined ? undefined : this.tokenToId(config.padToken);
    this.padToken = this.padTokenId === undefined ? undefined : config.padToken;
    this.addBosByDefault = bosToken !== undefined && (config.addBosToken ?? template.before !== undefined);
    this.finalId = this.idOf(template.after ?? config.eosToken, template.after ? TEMPLATE : 'eos_token');
    this.addEosByDefault = this.finalId !== undefined && (config.addEosToken ?? template.after !== undefined);
  }

  /** The ids of a text. A lone surrogate counts as U+FFFD. */
  encode(text: string, options: EncodeOptions = {}): Uint32Array<ArrayBuffer> {
    const { special = 'parse', addBos = this.addBosByDefault } = options;
    const { addEos = this.addEosByDefault && options.addBos !== false } = options;
    if (typeof text !== 'string') throw unsupported('the text to encode', text, 'a string');
    if (!Object.hasOwn(WANTED, special)) {
      throw unsupported('the option special', special, '"parse", "split", "plain"');
    }
    const ids = new IdList();
    if (addBos) {
      if (this.bosTokenId === undefined) throw new TokenizerError('addBos: this tokenizer has no BOS token');
      ids.push(this.bosTokenId);
    }
    const isWanted = WANTED[special];
    for (const segment of this.rawTokens.split(toWellFormed(text), isWanted)) {
      if (typeof segment !== 'string') ids.push(segment.id);
      else this.encodeStretch(this.normalize(segment), isWanted, ids);
    }
    if (addEos) {
      if (this.finalId === undefined) throw new TokenizerError('addEos: this tokenizer has no EOS token');
      ids.push(this.finalId);
    }
    return ids.toArray();
  }

  /** The text of ids. Ids that no token has are dropped; bytes that are not UTF-8 become U+FFFD. */
  decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    const isSkipped = this.skipper(options);
    const { vocabulary } = this.model;
    let numBytes = 0;
    for (let i = 0; i < ids.length; i++) numBytes += vocabulary.numBytes(ids[i]!);
    const bytes = new DataView(new ArrayBuffer(numBytes + COPY_SLACK));
    let end = 0;
    for (let i = 0; i < ids.length; i++) {
      if (!isSkipped(ids[i]!)) end = vocabulary.copyBytes(ids[i]!, bytes, end);
    }
    return decodeUtf8(new Uint8Array(bytes.buffer, 0, end));
  }

  /** A streaming decoder: the pieces it returns, joined, are what `decode` gives. */
  createStream(options: DecodeOptions = {}): DecodeStream {
    return new DecodeStream(this.model.vocabulary, this.skipper(options));
  }

  /** The id of a token as tokenizer.json writes it: `<|im_end|>`, `Ġthe`. */
  tokenToId(token: string): number | undefined {
    return this.model.vocabulary.idOf(token);
  }

  /** A token as tokenizer.json writes it; undefined for an id that no token has. Use `decode` for its text. */
  idToToken(id: number): string | undefined {
    return this.model.vocabulary.textOf(id);
  }

  /** The bytes that a token stands for in a text; undefined for added tokens and for an id that no token has. */
  bytesOf(id: number): Uint8Array | undefined {
    const { vocabulary } = this.model;
    if (!vocabulary.has(id) || vocabulary.isLiteral(id)) return undefined;
    const length = vocabulary.numBytes(id);
    const bytes = new DataView(new ArrayBuffer(length + COPY_SLACK));
    vocabulary.copyBytes(id, bytes, 0);
    return new Uint8Array(bytes.buffer, 0, length);
  }

  private encodeStretch(normalized: string, isWanted: (token: AddedToken) => boolean, ids: IdList): void {
    for (const segment of this.normalizedTokens.split(normalized, isWanted)) {
      if (typeof segment !== 'string') {
        ids.push(segment.id);
        continue;
      }
      const ends: number[] = [];
      this.splitIntoWords(segment, ends);
      let start = 0;
      for (const end of ends) {
        this.model.encodeWord(segment, start, end, ids);
        start = end;
      }
    }
  }

  private skipper({ skipSpecial = false }: DecodeOptions): (id: number) => boolean {
    return skipSpecial ? (id) => this.specialIds.has(id) : () => false;
  }

  private idOf(token: string | undefined, key: string): number | undefined {
    const id = token === undefined ? undefined : this.tokenToId(token);
    if (token !== undefined && id === undefined) {
      throw new TokenizerError(
        `${key} is ${describe(token)}, which tokenizer.json does not have; supported: one of its tokens`,
      );
    }
    return id;
  }
}

const SECTIONS = [
  'version',
  'truncation',
  'padding',
  'added_tokens',
  'normalizer',
  'pre_tokenizer',
  'post_processor',
  'decoder',
  'model',
];

/** Truncation and padding are not read: they are for batches, and Hugging Face turns them off when it encodes one text. */
function readTokenizer(json: unknown, moreTokens: readonly AddedToken[]): Parts {
  const sections = readObject(json, 'the file');
  rejectUnknownKeys(sections, 'the file', SECTIONS);
  const vocab = readObject(readObject(sections.model, 'model').vocab ?? {}, 'model.vocab');
  const idOf = (content: string): number | undefined => {
    const id = Object.hasOwn(vocab, content) ? vocab[content] : undefined;
    return isId(id) ? id : undefined;
  };
  const parts = {
    addedTokens: mergeAddedTokens(readAddedTokens(sections.added_tokens), moreTokens, idOf),
    normalize: readNormalizer(sections.normalizer),
    split: readPreTokenizer(sections.pre_tokenizer),
    template: readTemplate(sections.post_processor),
  };
  const decoders = readSteps(sections.decoder, 'decoder', 'decoders');
  if (decoders.length !== 1 || decoders[0]!.type !== 'ByteLevel') {
    throw unsupported('decoder', decoders.map(({ type }) => type).join(', '), 'one "ByteLevel"');
  }
  return { ...parts, model: new BpeModel(sections.model, parts.addedTokens) };
}

/** Runs a reader, and puts the name of the file in front of its error messages. */
function inFile<T>(file: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof TokenizerError ? new TokenizerError(`${file}: ${error.message}`) : error;
  }
}
