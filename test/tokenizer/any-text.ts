/** @file Random text that pre-tokenizers find hard, for property tests in Node and in a page. */
import fc from 'fast-check';
import type { Splitter } from '../../tokenizer/scanners.ts';
import { anyCharacter } from '../any-character.ts';

/** Pieces at which pre-tokenizers, normalization and added tokens decide something. */
const TELLING = [
  ..."'s 'S 'ſ 'ş 'll 'Re 'vE 'd 'm 't ' <|im_end|> <think> </think> <|im <｜User｜> <｜end▁of▁sentence｜> don't x_y ->".split(
    ' ',
  ),
  ...'a Z é e\u0301 ﬁ ß İ \u0301 \u0338 \u20dd 1 23 4567 ½ Ⅷ ٣ 一 中文 龥 \u9fa6 、 の カ ・ ゛ \u3040 \u30ff ! ?! $ + ^ ` ~'.split(
    ' ',
  ),
  ...'\u212b 각 ᄀ ᅡ ᆨ क् ก 😀 👩‍💻 🇩🇪 𝕏 𝟙 𠀀 \u{e0100} \u{10ffff} \0 \u0007 \u001c \u00ad \u200d \ufffd \ue000'.split(
    ' ',
  ),
  ...[
    ' ',
    '  ',
    '\t',
    '\n',
    '\r\n',
    '\r',
    '\u0085',
    '\u00a0',
    '\u1680',
    '\u2028',
    '\u3000',
    '\ufeff',
    '\v',
    '\f',
  ],
];

/** Random well-formed text, most of it of telling pieces. */
export const anyText = fc
  .array(
    fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom(...TELLING) },
      { weight: 1, arbitrary: fc.string({ unit: 'binary-ascii', maxLength: 6 }) },
      { weight: 1, arbitrary: fc.string({ unit: anyCharacter, maxLength: 4 }) },
    ),
    { maxLength: 30 },
  )
  .map((parts) => parts.join(''));

/** The pieces that a splitter cuts a text into. */
export const piecesOf = (split: Splitter, text: string): string[] => {
  const ends: number[] = [];
  split(text, ends);
  return ends.map((end, i) => text.slice(ends[i - 1] ?? 0, end));
};
