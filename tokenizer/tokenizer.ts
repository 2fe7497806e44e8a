/**
 * @file The tokenizer that users see: text -> ids and ids -> text, from a Hugging Face tokenizer.json of byte-level BPE (Qwen,
 * DeepSeek and relatives) or of SentencePiece's BPE (Llama 2, Mistral, Gemma). Knows nothing of chat templates or models.
 */
import { type AddedToken, AddedTokenFinder, mergeAddedTokens, readAddedTokens } from './added-tokens.ts';
import { readByteLevel } from './byte-level.ts';
import { readTemplate, readTokenizerConfig, type TemplateTokens, type TokenizerConfig } from './config.ts';
import { TokenizerError } from './errors.ts';
import { IdList } from './id-list.ts';
import { describe, isId, type JsonObject, readObject, rejectUnknownKeys, unsupported } from './json.ts';
import type { Kind } from './kind.ts';
import { toWellFormed } from './normalize.ts';
import { COPY_SLACK, DecodeStream } from './stream.ts';
import type { VocabFiles } from './vocab-files.ts';

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

type KindReader = (sections: JsonObject, addedTokens: readonly AddedToken[]) => Kind;

/** The sections of tokenizer.json, parsed. */
interface Parts {
  readonly kind: Kind;
  readonly addedTokens: readonly AddedToken[];
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

  private readonly kind: Kind;
  private readonly addBosByDefault: boolean;
  private readonly addEosByDefault: boolean;
  /** What is put behind a text. */
  private readonly finalId: number | undefined;
  /** Finders for the added tokens that are searched in the text as given, and for those searched after normalization. */
  private readonly rawTokens: AddedTokenFinder;
  private readonly normalizedTokens: AddedTokenFinder;

  /**
   * @param tokenizerJson tokenizer.json, parsed; for pieces its model may have `scores` in place of `merges`, as GGUF has them (see
   *   piece-model.ts). It is not kept.
   * @param tokenizerConfig tokenizer_config.json, parsed, if there is one.
   * @throws TokenizerError naming the field that is malformed or not supported.
   */
  static async load(tokenizerJson: unknown, tokenizerConfig?: unknown): Promise<Tokenizer> {
    if (isByteLevel(tokenizerJson)) return Tokenizer.fromJSON(tokenizerJson, tokenizerConfig);
    const { readPieces } = await import('./pieces.ts');
    return Tokenizer.fromJSON(tokenizerJson, tokenizerConfig, readPieces);
  }

  /** The same at once, for a kind that is known: byte-level BPE, or what `readKind` reads. */
  static fromJSON(
    tokenizerJson: unknown,
    tokenizerConfig?: unknown,
    readKind: KindReader = readByteLevel,
  ): Tokenizer {
    const config = inFile('tokenizer_config.json', () => readTokenizerConfig(tokenizerConfig));
    const parts = inFile('tokenizer.json', () => readTokenizer(tokenizerJson, config.addedTokens, readKind));
    return inFile('tokenizer_config.json', () => new Tokenizer(parts, config));
  }

  /**
   * From the files of a checkpoint without a tokenizer.json.
   * @param tokenizerConfig tokenizer_config.json, parsed: its `tokenizer_class` tells how texts are cut.
   * @throws TokenizerError for a class that is not known, or a file that is malformed.
   */
  static async fromVocabFiles(files: VocabFiles, tokenizerConfig: unknown): Promise<Tokenizer> {
    const { tokenizerJsonOf } = await import('./vocab-files.ts');
    return Tokenizer.fromJSON(tokenizerJsonOf(files, tokenizerConfig), tokenizerConfig);
  }

  private constructor(parts: Parts, config: TokenizerConfig) {
    this.kind = parts.kind;
    this.addedTokens = parts.addedTokens;
    this.vocabSize = parts.kind.model.vocabulary.size;
    this.specialIds = new Set(parts.addedTokens.filter((token) => token.special).map((token) => token.id));
    this.rawTokens = new AddedTokenFinder(
      parts.addedTokens.filter((token) => !token.normalized),
      (text) => text,
    );
    this.normalizedTokens = new AddedTokenFinder(
      parts.addedTokens.filter((token) => token.normalized),
      parts.kind.normalize,
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
    let isStart = true;
    for (const segment of this.rawTokens.split(toWellFormed(text), isWanted)) {
      if (typeof segment !== 'string') ids.push(segment.id);
      else this.encodeStretch(this.kind.normalize(segment), isStart, isWanted, ids);
      isStart = false;
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
    const { vocabulary } = this.kind.model;
    let numBytes = 0;
    for (let i = 0; i < ids.length; i++) numBytes += vocabulary.numBytes(ids[i]!);
    const bytes = new DataView(new ArrayBuffer(numBytes + COPY_SLACK));
    let end = 0;
    let tokens = vocabulary.first ?? vocabulary;
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i]!;
      if (isSkipped(id) || !vocabulary.has(id)) continue;
      end = tokens.copyBytes(id, bytes, end);
      tokens = vocabulary;
    }
    return this.kind.readText(new Uint8Array(bytes.buffer, 0, end));
  }

  /** A streaming decoder: the pieces it returns, joined, are what `decode` gives. */
  createStream(options: DecodeOptions = {}): DecodeStream {
    const { model, readText } = this.kind;
    return new DecodeStream(model.vocabulary, readText, this.skipper(options));
  }

  /** The id of a token as tokenizer.json writes it: `<|im_end|>`, `Ġthe`. */
  tokenToId(token: string): number | undefined {
    return this.kind.model.vocabulary.idOf(token);
  }

  /** A token as tokenizer.json writes it; undefined for an id that no token has. Use `decode` for its text. */
  idToToken(id: number): string | undefined {
    return this.kind.model.vocabulary.textOf(id);
  }

  /** The bytes that a token stands for in a text; undefined for added tokens and for an id that no token has. */
  bytesOf(id: number): Uint8Array | undefined {
    const { vocabulary } = this.kind.model;
    if (!vocabulary.has(id) || vocabulary.isLiteral(id)) return undefined;
    const length = vocabulary.numBytes(id);
    const bytes = new DataView(new ArrayBuffer(length + COPY_SLACK));
    vocabulary.copyBytes(id, bytes, 0);
    return new Uint8Array(bytes.buffer, 0, length);
  }

  private encodeStretch(
    normalized: string,
    isFirst: boolean,
    isWanted: (token: AddedToken) => boolean,
    ids: IdList,
  ): void {
    const { prepare, split, model } = this.kind;
    let isStart = isFirst;
    for (const segment of this.normalizedTokens.split(normalized, isWanted)) {
      if (typeof segment !== 'string') ids.push(segment.id);
      else {
        const stretch = prepare(segment, isStart);
        const ends: number[] = [];
        split(stretch, ends);
        let start = 0;
        for (const end of ends) {
          model.encodeWord(stretch, start, end, ids);
          start = end;
        }
      }
      isStart = false;
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
function readTokenizer(json: unknown, moreTokens: readonly AddedToken[], readKind: KindReader): Parts {
  const sections = readObject(json, 'the file');
  rejectUnknownKeys(sections, 'the file', SECTIONS);
  const vocab = readObject(readObject(sections.model, 'model').vocab ?? {}, 'model.vocab');
  const idOf = (content: string): number | undefined => {
    const id = Object.hasOwn(vocab, content) ? vocab[content] : undefined;
    return isId(id) ? id : undefined;
  };
  const own = readAddedTokens(sections.added_tokens);
  const addedTokens = mergeAddedTokens(own, moreTokens, Object.keys(vocab).length, idOf);
  return {
    addedTokens,
    kind: readKind(sections, addedTokens),
    template: readTemplate(
      sections.post_processor,
      (token) => addedTokens.find(({ content }) => content === token)?.id ?? idOf(token),
    ),
  };
}

/** Whether a part of the file says so. The file is not checked here. */
function isByteLevel(json: unknown): boolean {
  const { pre_tokenizer, decoder } = (json ?? {}) as { [key: string]: Record<string, unknown> | null };
  const parts = [pre_tokenizer, decoder, pre_tokenizer?.pretokenizers, decoder?.decoders].flat();
  return parts.some((part) => (part as { type?: unknown } | null | undefined)?.type === 'ByteLevel');
}

/** Runs a reader, and puts the name of the file in front of its error messages. */
function inFile<T>(file: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof TokenizerError ? new TokenizerError(`${file}: ${error.message}`) : error;
  }
}
