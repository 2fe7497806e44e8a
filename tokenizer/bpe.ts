/**
 * @file Byte-level BPE of one word: its UTF-8 bytes become byte tokens, which are merged by rank. Reads the `model` section
 * of tokenizer.json. Knows nothing of words' boundaries, normalization or added tokens.
 */
import { TokenizerError } from './errors.ts';
import type { IdList } from './id-list.ts';
import { readBoolean, readModel, readObject, readString, unsupported } from './json.ts';
import type { WordModel } from './kind.ts';
import { Merger } from './merger.ts';
import { MergeTable } from './merges.ts';
import { type LiteralToken, Vocabulary } from './vocabulary.ts';
import { WordCache } from './word-cache.ts';

export class BpeModel implements WordModel {
  readonly vocabulary: Vocabulary;
  private readonly merger: Merger;
  private readonly ignoreMerges: boolean;
  /** The token of each byte, or of what is unknown; -1: the byte is dropped. */
  private readonly byteIds = new Int32Array(256);
  /** Bytes that have no token of their own. */
  private readonly isUnknown = new Uint8Array(256);
  private readonly fusesUnknown: boolean;
  private readonly cache = new WordCache();
  private bytes = new Uint8Array(1024);

  /**
   * @param model the `model` section of tokenizer.json.
   * @param added the added tokens: they are in the vocabulary, but BPE does not make them.
   */
  constructor(model: unknown, added: readonly LiteralToken[]) {
    const json = readModel(model);
    this.fusesUnknown = readBoolean(json.fuse_unk, 'model.fuse_unk', false);
    this.ignoreMerges = readBoolean(json.ignore_merges, 'model.ignore_merges', false);
    this.vocabulary = new Vocabulary(readObject(json.vocab, 'model.vocab'), added);
    this.merger = new Merger(new MergeTable(json.merges, this.vocabulary));
    for (let byte = 0; byte < 256; byte++) {
      const id = this.vocabulary.findBytes(Uint8Array.of(byte), 0, 1);
      this.byteIds[byte] = id;
      if (id < 0) this.isUnknown[byte] = 1;
    }
    const hasFallback = readBoolean(json.byte_fallback, 'model.byte_fallback', false);
    const numUnknown = this.isUnknown.reduce((sum, isUnknown) => sum + isUnknown, 0);
    if (numUnknown === 256) {
      throw new TokenizerError('model.vocab has no token for any byte; supported: byte-level vocabularies');
    }
    // Tokens of bytes are for characters that have none, and here characters are bytes.
    if (hasFallback && numUnknown > 0) {
      throw unsupported('model.byte_fallback', true, 'false, since some bytes have no token');
    }
    const unknownId = this.readUnknown(json.unk_token, numUnknown);
    this.byteIds.forEach((id, byte) => {
      if (id < 0) this.byteIds[byte] = unknownId;
    });
  }

  /** The id of what no token stands for; -1: it is dropped, as Hugging Face does. */
  private readUnknown(json: unknown, numUnknown: number): number {
    if (json === null || json === undefined) return -1;
    const text = readString(json, 'model.unk_token');
    const id = this.vocabulary.idOf(text);
    if (id === undefined && numUnknown > 0) {
      throw unsupported('model.unk_token', text, 'a token of model.vocab, since some bytes have none');
    }
    return id ?? -1;
  }

  /** Appends the ids of the word text[start, end), which must be well-formed UTF-16, to `out`. */
  encodeWord(text: string, start: number, end: number, out: IdList): void {
    if (this.cache.find(text, start, end, out)) return;
    const firstId = out.length;
    this.mergeWord(text, start, end, out);
    this.cache.add(text, start, end, out, firstId);
  }

  private mergeWord(text: string, start: number, end: number, out: IdList): void {
    const numBytes = this.writeUtf8(text, start, end);
    if (this.ignoreMerges) {
      const id = this.vocabulary.findBytes(this.bytes, 0, numBytes);
      if (id >= 0 && !this.vocabulary.isLiteral(id)) {
        out.push(id);
        return;
      }
    }
    const numTokens = this.merger.merge(this.writeByteTokens(numBytes));
    const { tokens } = this.merger;
    for (let i = 0; i < numTokens; i++) out.push(tokens[i]!);
  }

  /** The tokens of single bytes, to be merged, and how many they are. */
  private writeByteTokens(numBytes: number): number {
    const { bytes, byteIds, isUnknown } = this;
    const { tokens } = this.merger;
    let count = 0;
    for (let i = 0; i < numBytes; i++) {
      const id = byteIds[bytes[i]!]!;
      const isFused =
        this.fusesUnknown && i > 0 && isUnknown[bytes[i]!] === 1 && isUnknown[bytes[i - 1]!] === 1;
      if (id >= 0 && !isFused) tokens[count++] = id;
    }
    return count;
  }

  /** Writes the UTF-8 of text[start, end) to `bytes`, makes room for its tokens and returns the number of bytes. */
  private writeUtf8(text: string, start: number, end: number): number {
    const room = (end - start) * 3;
    if (room > this.bytes.length) {
      this.bytes = new Uint8Array(room);
      this.merger.reserve(room);
    }
    const { bytes } = this;
    let at = 0;
    for (let i = start; i < end; i++) {
      let char = text.charCodeAt(i);
      if (char < 0x80) {
        bytes[at++] = char;
      } else if (char < 0x800) {
        bytes[at++] = 0xc0 | (char >> 6);
        bytes[at++] = 0x80 | (char & 0x3f);
      } else {
        if (char >= 0xd800 && char < 0xe000) {
          char = 0x10000 + ((char & 0x3ff) << 10) + (text.charCodeAt(++i) & 0x3ff);
          bytes[at++] = 0xf0 | (char >> 18);
          bytes[at++] = 0x80 | ((char >> 12) & 0x3f);
        } else {
          bytes[at++] = 0xe0 | (char >> 12);
        }
        bytes[at++] = 0x80 | ((char >> 6) & 0x3f);
        bytes[at++] = 0x80 | (char & 0x3f);
      }
    }
    return at;
  }
}
