/** @file The vocabularies that tests of structured output use, and what walks over their masks. */
import { readFileSync } from 'node:fs';
import type { Constraint, Vocabulary } from '../../src/constrain/index.ts';
import { vocabularyOf } from '../../src/constrain/index.ts';
import { Tokenizer } from '../../tokenizer/index.ts';
import { tokenizerOf } from '../tokenizer/tokenizers.ts';

export interface Kit {
  readonly tokenizer: Tokenizer;
  readonly vocabulary: Vocabulary;
  readonly stop: number;
}

function kitOf(tokenizer: Tokenizer, size: number): Kit {
  const stop = tokenizer.eosTokenId!;
  return { tokenizer, vocabulary: vocabularyOf(tokenizer, size, [stop]), stop };
}

let small: Kit | undefined;
let large: Kit | undefined;

/** The 1,024 tokens of the embedded models. */
export function smallKit(): Kit {
  const read = (file: string) =>
    JSON.parse(readFileSync(new URL(`../../examples/models/tiny-qwen3/${file}`, import.meta.url), 'utf8'));
  small ??= kitOf(Tokenizer.fromJSON(read('tokenizer.json'), read('tokenizer_config.json')), 1024);
  return small;
}

/** Qwen3: the logits of its models have 151,936 rows. */
export function largeKit(): Kit {
  large ??= kitOf(tokenizerOf('qwen3'), 151_936);
  return large;
}

export const isAllowed = (mask: Uint32Array, token: number): boolean =>
  ((mask[token >>> 5]! >>> (token & 31)) & 1) === 1;

/** Undefined where the whole text is taken token by token, and otherwise where it is not. */
export function refusal(constraint: Constraint, { tokenizer, stop }: Kit, text: string): string | undefined {
  let done = '';
  for (const id of tokenizer.encode(text, { special: 'plain', addBos: false })) {
    const piece = tokenizer.decode([id]);
    if (!isAllowed(constraint.mask(), id)) return `after ${done}: ${JSON.stringify(piece)} is not allowed`;
    constraint.accept(id);
    done += piece;
  }
  if (!constraint.canEnd) return `after ${done}: the text cannot end`;
  if (!isAllowed(constraint.mask(), stop)) return `after ${done}: the stop token is not allowed`;
  return undefined;
}

/** Takes one token at random from the masks after another, and from `patience` tokens on those that tend to end a text. */
export function randomText(
  constraint: Constraint,
  { tokenizer, vocabulary, stop }: Kit,
  random: () => number,
  patience = 60,
  endings = '}]ax1',
  maxTokens = 5_000,
): string {
  const quote = tokenizer.tokenToId('"')!;
  const closing = [...endings].flatMap((char) => [
    ...tokenizer.encode(char, { special: 'plain', addBos: false }),
  ]);
  const ids: number[] = [];
  for (let step = 0; step < maxTokens; step++) {
    const mask = constraint.mask();
    let token = -1;
    if (step >= patience) {
      if (isAllowed(mask, stop)) token = stop;
      else if (random() < 0.5 && isAllowed(mask, quote)) token = quote;
      else {
        const one = closing[Math.floor(random() * closing.length)]!;
        if (isAllowed(mask, one)) token = one;
      }
    }
    if (token < 0) token = randomToken(mask, vocabulary.size, random);
    constraint.accept(token);
    if (token === stop) return tokenizer.decode(ids);
    ids.push(token);
  }
  throw new Error(`no end after ${ids.length} tokens: ${tokenizer.decode(ids).slice(0, 300)}`);
}

function randomToken(mask: Uint32Array, size: number, random: () => number): number {
  const start = Math.floor(random() * size);
  for (let i = 0; i < size; i++) {
    const token = (start + i) % size;
    if (isAllowed(mask, token)) return token;
  }
  throw new Error('no token is allowed');
}
