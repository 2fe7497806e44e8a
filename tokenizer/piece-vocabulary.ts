/**
 * @file The vocabulary of pieces: id <-> token, found by its text as tokenizer.json writes it (`▁the`), and the bytes it stands for in
 * a decoded text (` the`). Knows nothing of merges or of text to encode.
 */
import type { AddedToken } from './added-tokens.ts';
import { TokenizerError } from './errors.ts';
import { describe, type JsonObject, readId, unsupported } from './json.ts';
import type { TokenTable } from './kind.ts';
import { hasLoneSurrogate } from './normalize.ts';
import type { PieceDecoder } from './piece-decoder.ts';
import { COPY_SLACK } from './stream.ts';
import { TokenIndex } from './token-index.ts';
import { decodeUtf8 } from './utf8.ts';

const utf8 = new TextEncoder();

/** Bytes of each id, one after another. */
class PackedBytes {
  readonly offsets: Uint32Array;
  bytes = new Uint8Array(2 ** 16);
  private readonly view: DataView;

  /** @param bytesAt the text of an id, or its byte; undefined: it has no bytes. */
  constructor(size: number, bytesAt: (id: number) => string | number | undefined) {
    this.offsets = new Uint32Array(size + 1);
    let end = 0;
    for (let id = 0; id < size; id++) {
      const text = bytesAt(id) ?? '';
      const room = end + (typeof text === 'number' ? 1 : text.length * 3) + COPY_SLACK;
      if (room > this.bytes.length) {
        const larger = new Uint8Array(room * 2);
        larger.set(this.bytes.subarray(0, end));
        this.bytes = larger;
      }
      if (typeof text === 'number') this.bytes[end++] = text;
      else end += utf8.encodeInto(text, this.bytes.subarray(end)).written;
      this.offsets[id + 1] = end;
    }
    this.bytes = this.bytes.slice(0, end + COPY_SLACK);
    this.view = new DataView(this.bytes.buffer);
  }

  numBytes(id: number): number {
    return this.offsets[id + 1]! - this.offsets[id]!;
  }

  copyBytes(id: number, out: DataView, at: number): number {
    const start = this.offsets[id]!;
    const length = this.numBytes(id);
    for (let i = 0; i < length; i += 4) out.setUint32(at + i, this.view.getUint32(start + i));
    return at + length;
  }
}

export class PieceVocabulary implements TokenTable {
  readonly size: number;
  readonly first: TokenTable['first'];
  /** The tokens of model.vocab, by their bytes as written. */
  readonly index: TokenIndex;
  private readonly isTaken: Uint8Array;
  private readonly written: PackedBytes;
  private readonly shown: PackedBytes;
  private readonly addedIds = new Map<string, number>();
  private readonly isAdded: Uint8Array;

  /**
   * @param entries `model.vocab` of tokenizer.json: token -> id.
   * @param added the added tokens. One that `entries` has too must have the same id there.
   * @throws TokenizerError for an id that is malformed or stands for two tokens, or a token with two ids.
   */
  constructor(entries: JsonObject, added: readonly AddedToken[], decoder: PieceDecoder) {
    const texts: string[] = [];
    let numTexts = 0;
    const claim = (id: number, text: string): void => {
      if (texts[id] !== undefined) {
        throw new TokenizerError(
          `the id ${id} stands for ${describe(text)} and for ${describe(texts[id])}; supported: one token for an id`,
        );
      }
      texts[id] = text;
    };
    for (const text of Object.keys(entries)) {
      if (hasLoneSurrogate(text)) throw unsupported('a token of model.vocab', text, 'well-formed Unicode');
      claim(readId(entries[text], `model.vocab[${describe(text)}]`), text);
      numTexts++;
    }
    const isWritten = Uint8Array.from(texts, (text) => (text === undefined ? 0 : 1));
    for (const { id, content } of added) {
      this.addedIds.set(content, id);
      if (!Object.hasOwn(entries, content)) claim(id, content);
      else if (entries[content] !== id) {
        throw new TokenizerError(
          `added_tokens gives ${describe(content)} the id ${id} and model.vocab the id ${describe(entries[content])}; supported: one id for a token`,
        );
      }
    }
    this.size = texts.length;
    this.isTaken = Uint8Array.from(texts, (text) => (text === undefined ? 0 : 1));
    this.isAdded = new Uint8Array(this.size);
    for (const { id } of added) this.isAdded[id] = 1;
    this.written = new PackedBytes(this.size, (id) => texts[id]);
    this.shown = new PackedBytes(this.size, (id) =>
      texts[id] === undefined ? undefined : decoder.shown(texts[id]),
    );
    this.index = new TokenIndex(this.written.bytes, this.written.offsets, numTexts);
    isWritten.forEach((isWritten, id) => {
      if (isWritten === 1) this.index.add(id);
    });
    const { shownFirst } = decoder;
    if (shownFirst) {
      const bytesOf = (id: number): Uint8Array => {
        const shown = shownFirst(this.textOf(id) ?? '');
        return typeof shown === 'number' ? Uint8Array.of(shown) : utf8.encode(shown);
      };
      this.first = {
        numBytes: (id) => bytesOf(id).length,
        copyBytes: (id, out, at) => {
          const bytes = bytesOf(id);
          for (const [i, byte] of bytes.entries()) out.setUint8(at + i, byte);
          return at + bytes.length;
        },
      };
    }
  }

  has(id: number): boolean {
    return this.isTaken[id] === 1;
  }

  numBytes(id: number): number {
    return this.has(id) ? this.shown.numBytes(id) : 0;
  }

  copyBytes(id: number, out: DataView, at: number): number {
    return this.has(id) ? this.shown.copyBytes(id, out, at) : at;
  }

  isLiteral(id: number): boolean {
    return this.isAdded[id] === 1;
  }

  idOf(text: string): number | undefined {
    const id = this.addedIds.get(text) ?? this.findText(text);
    return id < 0 ? undefined : id;
  }

  textOf(id: number): string | undefined {
    const { bytes, offsets } = this.written;
    return this.has(id) ? decodeUtf8(bytes.subarray(offsets[id], offsets[id + 1])) : undefined;
  }

  /** The token of model.vocab that is written like this, or -1. */
  findText(text: string): number {
    const bytes = utf8.encode(text);
    return this.index.find(bytes, 0, bytes.length);
  }

  findBytes(bytes: Uint8Array, start: number, end: number): number {
    return this.index.find(bytes, start, end);
  }

  write(text: string, out: Uint8Array, at: number): number {
    return at + utf8.encodeInto(text, out.subarray(at)).written;
  }
}
