/** @file The kind of tokenizer.json that is byte-level BPE (GPT-2, Qwen, DeepSeek, Llama 3): which sections it may have. */
import type { AddedToken } from './added-tokens.ts';
import { BpeModel } from './bpe.ts';
import { type JsonObject, readSteps, unsupported } from './json.ts';
import type { Kind } from './kind.ts';
import { readNormalizer } from './normalize.ts';
import { readPreTokenizer } from './pretokenize.ts';
import { decodeUtf8 } from './utf8.ts';

/** @param sections tokenizer.json, parsed. */
export function readByteLevel(sections: JsonObject, addedTokens: readonly AddedToken[]): Kind {
  const normalize = readNormalizer(sections.normalizer);
  const split = readPreTokenizer(sections.pre_tokenizer);
  const decoders = readSteps(sections.decoder, 'decoder', 'decoders');
  if (decoders.length !== 1 || decoders[0]!.type !== 'ByteLevel') {
    throw unsupported('decoder', decoders.map(({ type }) => type).join(', '), 'one "ByteLevel"');
  }
  return {
    normalize,
    prepare: (stretch) => stretch,
    split,
    model: new BpeModel(sections.model, addedTokens),
    readText: decodeUtf8,
  };
}
