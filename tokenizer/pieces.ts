/**
 * @file The kind of tokenizer.json that is BPE of pieces as SentencePiece has it (Llama 2, Mistral 7B, Yi, Phi-3, Gemma): text with `▁`
 * for spaces, and tokens of bytes for characters that have none. Loaded when a checkpoint has it.
 */
import type { AddedToken } from './added-tokens.ts';
import { type JsonObject, readObject } from './json.ts';
import type { Kind } from './kind.ts';
import { readPieceDecoder } from './piece-decoder.ts';
import { PieceModel } from './piece-model.ts';
import { readPieceNormalizer, readPiecePreTokenizer } from './piece-normalizer.ts';
import type { Splitter } from './scanners.ts';

/** What stands for a space. A file with another character works too, only slower. */
const SPACE = '▁';

/** @param sections tokenizer.json, parsed. */
export function readPieces(sections: JsonObject, addedTokens: readonly AddedToken[]): Kind {
  const normalize = readPieceNormalizer(sections.normalizer);
  const { prepare, split } = readPiecePreTokenizer(sections.pre_tokenizer);
  const decoder = readPieceDecoder(sections.decoder);
  const model = new PieceModel(sections.model, addedTokens, decoder);
  const texts = Object.keys(readObject(readObject(sections.model, 'model').vocab, 'model.vocab'));
  const joined = model.unitsBefore(SPACE, texts);
  return {
    normalize,
    prepare,
    split: joined ? cutAtSpaces(split, joined) : split,
    model,
    readText: decoder.readText,
  };
}

/**
 * Cuts words before each run of spaces, where no token reaches across: the tokens are the same as those of the whole text, which
 * tokenizer.json does not split, and most words are known already. `joined`: the UTF-16 units that some token has before a space.
 */
function cutAtSpaces(split: Splitter, joined: ReadonlySet<string>): Splitter {
  const space = SPACE.charCodeAt(0);
  const isJoined = new Uint8Array(0x10000);
  for (const unit of joined) isJoined[unit.charCodeAt(0)] = 1;
  isJoined[space] = 1;
  return (text, ends) => {
    const wordEnds: number[] = [];
    split(text, wordEnds);
    let start = 0;
    for (const end of wordEnds) {
      for (let i = start + 1; i < end; i++) {
        if (text.charCodeAt(i) === space && isJoined[text.charCodeAt(i - 1)] === 0) ends.push(i);
      }
      ends.push(end);
      start = end;
    }
  };
}
