/**
 * @file Streaming detokenizer: text as soon as it is certain. Bytes of a character that is not complete are held back, so
 * the joined pieces are exactly the decoded whole.
 */
import { incompleteTail } from './utf8.ts';

/** How many bytes copyBytes may touch after the last one. */
export const COPY_SLACK = 3;

/** Bytes that are UTF-8 but for faults, as text: a text is the same in one piece and cut before an incomplete character. */
export type TextReader = (bytes: Uint8Array) => string;

/** Where the bytes of tokens come from. Ids that are to be dropped have none. */
export interface TokenBytes {
  /** The bytes of the first token of a text, where they are others than elsewhere. */
  readonly first?: Pick<TokenBytes, 'numBytes' | 'copyBytes'>;
  has(id: number): boolean;
  numBytes(id: number): number;
  /** Writes the bytes to `out` from `at` on, perhaps COPY_SLACK bytes of anything after them, and returns where they end. */
  copyBytes(id: number, out: DataView, at: number): number;
}

export class DecodeStream {
  private readonly tokens: TokenBytes;
  private readonly readText: TextReader;
  private readonly isSkipped: (id: number) => boolean;
  private isFirst = true;
  /** Bytes held back, at most three, and room for those of the next token. */
  private pending = new Uint8Array(64);
  private numPending = 0;

  constructor(tokens: TokenBytes, readText: TextReader, isSkipped: (id: number) => boolean) {
    this.tokens = tokens;
    this.readText = readText;
    this.isSkipped = isSkipped;
  }

  /** Takes the next id and returns the text that is certain now, often ''. */
  push(id: number): string {
    if (this.isSkipped(id) || !this.tokens.has(id)) return '';
    const tokens = this.isFirst ? (this.tokens.first ?? this.tokens) : this.tokens;
    this.isFirst = false;
    const needed = this.numPending + tokens.numBytes(id) + COPY_SLACK;
    if (needed > this.pending.length) {
      const larger = new Uint8Array(needed * 2);
      larger.set(this.pending.subarray(0, this.numPending));
      this.pending = larger;
    }
    const length = tokens.copyBytes(id, new DataView(this.pending.buffer), this.numPending);
    const tail = incompleteTail(this.pending, length);
    const text = this.readText(this.pending.subarray(0, length - tail));
    this.pending.copyWithin(0, length - tail, length);
    this.numPending = tail;
    return text;
  }

  /** Ends the text: an incomplete character becomes U+FFFD. The stream can then be used again. */
  flush(): string {
    const text = this.readText(this.pending.subarray(0, this.numPending));
    this.numPending = 0;
    this.isFirst = true;
    return text;
  }
}
