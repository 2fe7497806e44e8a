/** @file What each kind of tokenizer.json (byte-level BPE, pieces of SentencePiece) gives to the tokenizer that users see. */
import type { IdList } from './id-list.ts';
import type { Normalizer } from './normalize.ts';
import type { Splitter } from './scanners.ts';
import type { TextReader, TokenBytes } from './stream.ts';

/** id <-> token. */
export interface TokenTable extends TokenBytes {
  /** One more than the highest id. */
  readonly size: number;
  has(id: number): boolean;
  /** Whether it is an added token. */
  isLiteral(id: number): boolean;
  /** A token as tokenizer.json writes it. */
  idOf(text: string): number | undefined;
  textOf(id: number): string | undefined;
}

/** BPE of one word. */
export interface WordModel {
  readonly vocabulary: TokenTable;
  /** Appends the ids of the word text[start, end), which must be well-formed UTF-16, to `out`. */
  encodeWord(text: string, start: number, end: number, out: IdList): void;
}

export interface Kind {
  readonly normalize: Normalizer;
  /** What is done last to a stretch of text without added tokens. `isStart`: nothing is before it. */
  readonly prepare: (stretch: string, isStart: boolean) => string;
  readonly split: Splitter;
  readonly model: WordModel;
  readonly readText: TextReader;
}
