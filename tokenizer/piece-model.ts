/**
 * @file BPE of one word of characters: each is a token, or the tokens of its UTF-8 bytes, or unknown; they are merged by rank or by
 * score. Reads the `model` section of a tokenizer.json of SentencePiece's kind. Knows nothing of normalization or added tokens in text.
 */
import type { AddedToken } from './added-tokens.ts';
import { TokenizerError } from './errors.ts';
import type { IdList } from './id-list.ts';
import { describe, readBoolean, readModel, readObject, readString, unsupported } from './json.ts';
import type { WordModel } from './kind.ts';
import { Merger } from './merger.ts';
import { MergeTable } from './merges.ts';
import type { PieceDecoder } from './piece-decoder.ts';
import { PieceVocabulary } from './piece-vocabulary.ts';
import { ScoreRules } from './score-rules.ts';
import { WordCache } from './word-cache.ts';

const utf8 = new TextEncoder();

const byteToken = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;

export class PieceModel implements WordModel {
  readonly vocabulary: PieceVocabulary;
  private readonly merger: Merger;
  private readonly ignoreMerges: boolean;
  private readonly fusesUnknown: boolean;
  /** -1: what is unknown is dropped, as Hugging Face does. */
  private readonly unknownId: number;
  /** The token of each character that has one. */
  private readonly charIds = new Map<number, number>();
  /** The tokens of bytes; -1 where there is none. */
  private readonly byteIds = new Int32Array(256).fill(-1);
  private readonly cache = new WordCache();

  /**
   * @param model the `model` section of tokenizer.json. In place of `merges` it may have `scores`, the score of each id, as SentencePiece
   *   and GGUF have them: then the two neighbours go first whose texts together are the token of the highest score.
   * @param added the added tokens. Merging makes no control token.
   */
  constructor(model: unknown, added: readonly AddedToken[], decoder: PieceDecoder) {
    const json = readModel(model, ['scores']);
    const entries = readObject(json.vocab, 'model.vocab');
    this.vocabulary = new PieceVocabulary(entries, added, decoder);
    this.fusesUnknown = readBoolean(json.fuse_unk, 'model.fuse_unk', false);
    this.ignoreMerges = readBoolean(json.ignore_merges, 'model.ignore_merges', false);
    for (const text of Object.keys(entries)) {
      const char = text.codePointAt(0);
      if (char !== undefined && text.length === (char > 0xffff ? 2 : 1)) {
        this.charIds.set(char, entries[text] as number);
      }
    }
    const hasBytes = readBoolean(json.byte_fallback, 'model.byte_fallback', false);
    for (let byte = 0; hasBytes && byte < 256; byte++) {
      this.byteIds[byte] = this.vocabulary.findText(byteToken(byte));
    }
    this.unknownId = this.readUnknown(json.unk_token);
    const controls = new Set(added.filter(({ special }) => special).map(({ id }) => id));
    if (json.scores === undefined || json.scores === null) {
      this.merger = new Merger(new MergeTable(json.merges, this.vocabulary, (id) => !controls.has(id)));
    } else {
      const bytes = new Set(this.byteIds);
      const isMerged = (id: number): boolean => !controls.has(id) && !bytes.has(id) && id !== this.unknownId;
      this.checkCharacters(Object.keys(entries), (text) => isMerged(entries[text] as number), added);
      this.merger = new Merger(
        new ScoreRules(json.scores, this.vocabulary.size, this.vocabulary.index, isMerged),
      );
    }
  }

  private readUnknown(json: unknown): number {
    if (json === null || json === undefined) return -1;
    const text = readString(json, 'model.unk_token');
    const id = this.vocabulary.findText(text);
    if (id < 0 && this.byteIds.includes(-1)) {
      throw unsupported('model.unk_token', text, 'a token of model.vocab, since some bytes have none');
    }
    return id;
  }

  /** SentencePiece would merge a character that is no token; here nothing stands for it meanwhile. */
  private checkCharacters(
    texts: readonly string[],
    isMerged: (text: string) => boolean,
    added: readonly AddedToken[],
  ): void {
    const isAdded = new Set(added.map(({ content }) => content));
    for (const text of texts) {
      if (!isMerged(text) || isAdded.has(text)) continue;
      for (const char of text) {
        if (this.charIds.has(char.codePointAt(0)!)) continue;
        throw new TokenizerError(
          `model.vocab has ${describe(text)}, but not its character ${describe(char)}; supported: scores where each character of a token is one too`,
        );
      }
    }
  }

  /**
   * After which UTF-16 units `space` may not begin a word of its own, because one of `texts`, the tokens of model.vocab, has both;
   * undefined: it may nowhere, because tokens on both sides may meet.
   */
  unitsBefore(space: string, texts: readonly string[]): ReadonlySet<string> | undefined {
    const isDropped = this.unknownId < 0 && this.byteIds.includes(-1);
    if (this.ignoreMerges || isDropped || !this.charIds.has(space.codePointAt(0)!)) return undefined;
    const before = new Set<string>();
    for (const text of texts) {
      for (let at = text.indexOf(space, 1); at > 0; at = text.indexOf(space, at + 1)) {
        before.add(text[at - 1]!);
      }
    }
    return before;
  }

  encodeWord(text: string, start: number, end: number, out: IdList): void {
    if (this.cache.find(text, start, end, out)) return;
    const firstId = out.length;
    this.mergeWord(text, start, end, out);
    this.cache.add(text, start, end, out, firstId);
  }

  private mergeWord(text: string, start: number, end: number, out: IdList): void {
    if (this.ignoreMerges) {
      const id = this.vocabulary.findText(text.slice(start, end));
      if (id >= 0 && !this.vocabulary.isLiteral(id)) {
        out.push(id);
        return;
      }
    }
    const numTokens = this.merger.merge(this.writeTokens(text, start, end));
    const { tokens } = this.merger;
    for (let i = 0; i < numTokens; i++) out.push(tokens[i]!);
  }

  /** The tokens to be merged, and how many they are. */
  private writeTokens(text: string, start: number, end: number): number {
    this.merger.reserve((end - start) * 3 + 1);
    const { tokens } = this.merger;
    let count = 0;
    // As in the library `tokenizers`, an unknown character is put down when the next known one comes, behind tokens of bytes.
    let isPending = false;
    for (let i = start; i < end; ) {
      const char = text.codePointAt(i)!;
      i += char > 0xffff ? 2 : 1;
      const id = this.charIds.get(char);
      if (id !== undefined) {
        if (isPending) tokens[count++] = this.unknownId;
        isPending = false;
        tokens[count++] = id;
        continue;
      }
      const numBytes = this.writeBytes(char, count);
      count += numBytes;
      if (numBytes > 0 || this.unknownId < 0) continue;
      if (isPending && !this.fusesUnknown) tokens[count++] = this.unknownId;
      isPending = true;
    }
    if (isPending) tokens[count++] = this.unknownId;
    return count;
  }

  /** Writes the tokens of a character's bytes from `at` on; 0: not every byte has one. */
  private writeBytes(char: number, at: number): number {
    const bytes = utf8.encode(String.fromCodePoint(char));
    const { tokens } = this.merger;
    for (let i = 0; i < bytes.length; i++) {
      const id = this.byteIds[bytes[i]!]!;
      if (id < 0) return 0;
      tokens[at + i] = id;
    }
    return bytes.length;
  }
}
