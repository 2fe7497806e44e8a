/**
 * @file The vocabulary of byte-level BPE: id <-> bytes of a token. Knows nothing of merges, of added-token flags or of text to
 * encode.
 */
import { alphabetText, isAlphabetText, writeAlphabetBytes } from './byte-alphabet.ts';
import { TokenizerError } from './errors.ts';
import { describe, isId, type JsonObject, readId } from './json.ts';
import type { TokenTable } from './kind.ts';
import { COPY_SLACK } from './stream.ts';
import { TokenIndex } from './token-index.ts';

/** A token that stands for its own text; most tokens stand for bytes written in the byte alphabet. */
export interface LiteralToken {
  readonly id: number;
  readonly content: string;
}

const utf8 = new TextEncoder();

export class Vocabulary implements TokenTable {
  /** One more than the highest id. */
  readonly size: number;
  /** The bytes of all tokens in the order of ids: those of an id are in bytes[offsets[id], offsets[id + 1]). */
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly offsets: Uint32Array;
  /** 1 for ids that have a token. */
  private readonly isTaken: Uint8Array;
  /** The tokens written in the byte alphabet. */
  private readonly index: TokenIndex;
  private readonly literalIds = new Map<string, number>();
  private readonly literalTexts = new Map<number, string>();

  /**
   * @param entries `model.vocab` of tokenizer.json: token -> id. Tokens with a character outside the byte alphabet
   *   (control tokens of some models) become literal tokens.
   * @param added the added tokens. One that `entries` has too must have the same id and the same bytes there.
   * @throws TokenizerError for an id that is malformed or stands for two tokens, or a token with two ids.
   */
  constructor(entries: JsonObject, added: readonly LiteralToken[]) {
    const texts = Object.keys(entries);
    // Object.values would be slower than all the rest of loading.
    const ids = texts.map((text) => {
      const id = entries[text];
      return isId(id) ? id : readId(id, `model.vocab[${describe(text)}]`);
    });
    let size = 0;
    for (const id of ids) size = Math.max(size, id + 1);
    for (const { id } of added) size = Math.max(size, id + 1);
    this.size = size;
    this.isTaken = new Uint8Array(size);
    this.offsets = new Uint32Array(size + 1);
    for (let i = 0; i < texts.length; i++) this.claim(ids[i]!, texts[i]!, isAlphabetText(texts[i]!));
    for (const token of added) {
      if (Object.hasOwn(entries, token.content)) this.makeLiteral(token, entries[token.content]);
      else this.claim(token.id, token.content, false);
    }
    for (let id = 0; id < size; id++) this.offsets[id + 1]! += this.offsets[id]!;

    this.bytes = new Uint8Array(this.offsets[size]! + COPY_SLACK);
    this.view = new DataView(this.bytes.buffer);
    this.index = new TokenIndex(this.bytes, this.offsets, texts.length);
    for (let i = 0; i < texts.length; i++) {
      if (writeAlphabetBytes(texts[i]!, this.bytes, this.offsets[ids[i]!]!)) this.index.add(ids[i]!);
    }
    // Last, to overwrite what writeAlphabetBytes wrote before it met a character outside the alphabet.
    for (const [id, text] of this.literalTexts) this.bytes.set(utf8.encode(text), this.offsets[id]);
  }

  has(id: number): boolean {
    return this.isTaken[id] === 1;
  }

  /** How many bytes a token stands for; 0 for an id that no token has. */
  numBytes(id: number): number {
    return this.has(id) ? this.offsets[id + 1]! - this.offsets[id]! : 0;
  }

  /**
   * Writes the bytes of a token to `out` from `at` on and returns where they end; an id that no token has writes none. Up to
   * COPY_SLACK bytes after the end are overwritten with anything: copying four bytes at a time is several times faster.
   */
  copyBytes(id: number, out: DataView, at: number): number {
    const start = this.offsets[id]!;
    const length = this.numBytes(id);
    for (let i = 0; i < length; i += 4) out.setUint32(at + i, this.view.getUint32(start + i));
    return at + length;
  }

  /** The byte-level token that stands for bytes[start, end), or -1. */
  findBytes(bytes: Uint8Array, start: number, end: number): number {
    return this.index.find(bytes, start, end);
  }

  /** Writes the bytes of a text in the byte alphabet to `out` and returns where they end; -1: it has other characters. */
  write(text: string, out: Uint8Array, at: number): number {
    return writeAlphabetBytes(text, out, at) ? at + text.length : -1;
  }

  /** Whether a token stands for its own text: every added token does. */
  isLiteral(id: number): boolean {
    return this.literalTexts.has(id);
  }

  /** The id of a token as tokenizer.json writes it (`Ġthe`, `<|im_end|>`). */
  idOf(text: string): number | undefined {
    const literal = this.literalIds.get(text);
    if (literal !== undefined) return literal;
    const bytes = new Uint8Array(text.length);
    if (!writeAlphabetBytes(text, bytes, 0)) return undefined;
    const id = this.findBytes(bytes, 0, bytes.length);
    return id < 0 ? undefined : id;
  }

  /** A token as tokenizer.json writes it; undefined for an id that no token has. */
  textOf(id: number): string | undefined {
    const literal = this.literalTexts.get(id);
    if (literal !== undefined || !this.has(id)) return literal;
    return alphabetText(this.bytes.subarray(this.offsets[id], this.offsets[id + 1]));
  }

  /** Reserves an id for a new token and notes its length. */
  private claim(id: number, text: string, isByteLevel: boolean): void {
    if (this.has(id)) {
      throw new TokenizerError(
        `the id ${id} stands for ${describe(text)} and for another token; supported: one token for an id`,
      );
    }
    this.isTaken[id] = 1;
    this.offsets[id + 1] = isByteLevel ? text.length : utf8.encode(text).length;
    if (!isByteLevel) this.setLiteral(id, text);
  }

  /** Lets an entry of model.vocab stand for its own text, as an added token does. */
  private makeLiteral({ id, content }: LiteralToken, idInVocab: unknown): void {
    if (idInVocab !== id) {
      throw new TokenizerError(
        `added_tokens gives ${describe(content)} the id ${id} and model.vocab the id ${describe(idInVocab)}; supported: one id for a token`,
      );
    }
    if (isAlphabetText(content) && !isAscii(content)) {
      throw new TokenizerError(
        `added_tokens has ${describe(content)}, which in model.vocab stands for other bytes; supported: added tokens ` +
          'outside model.vocab, or in it with the same meaning',
      );
    }
    this.setLiteral(id, content);
  }

  private setLiteral(id: number, text: string): void {
    this.literalIds.set(text, id);
    this.literalTexts.set(id, text);
  }
}

/** The byte alphabet writes printable ASCII as itself. */
const isAscii = (text: string): boolean => /^[!-~]*$/.test(text);
